/**
 * Calls any TensorFlow operation, including those that tfjs does not wrap (SelfAdjointEigV2, Svd,
 * …).
 */
import { type DataType, findBackend, getBackend, type Tensor } from '@tensorflow/tfjs-core';
import type { NodeJSKernelBackend } from '@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js';
import { ADDED, type Rule } from './compiled/rules.ts';

/** An attribute, with the type that TensorFlow's definition of the operation gives it. */
type Attribute =
  | { readonly type: 'int' | 'float'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'dtype'; readonly value: DataType };

/** Whether `callOperation` can be used: the current backend is TensorFlow. */
export const hasOperations = (): boolean => getBackend() === 'tensorflow';

/** The backend object of tfjs-node. `loadBackend('tensorflow')` must have been called. */
export function tensorflowBackend(): NodeJSKernelBackend {
  // tfjs types all backends alike.
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment
  return findBackend('tensorflow') as NodeJSKernelBackend;
}

type Attributes = Readonly<Record<string, Attribute>>;

/**
 * The encoded form of attributes, by the object that holds them: an object that is used again need
 * not be encoded again.
 */
const encodings = new WeakMap<Attributes, ReturnType<typeof encodeAttributes>>();

/** Returns the attributes as tfjs-node's binding takes them. */
function encodeAttributes(backend: NodeJSKernelBackend, attributes: Attributes) {
  const { binding } = backend;
  const types = {
    int: binding.TF_ATTR_INT,
    float: binding.TF_ATTR_FLOAT,
    bool: binding.TF_ATTR_BOOL,
    dtype: binding.TF_ATTR_TYPE,
  };
  return Object.entries(attributes).map(([name, attribute]) => ({
    name,
    type: types[attribute.type],
    value: attribute.type === 'dtype' ? backend.getDTypeInteger(attribute.value) : attribute.value,
  }));
}

/**
 * Runs one TensorFlow operation eagerly. No gradient is recorded. `tf.tidy` disposes of the
 * outputs, as it does of other tensors.
 *
 *     const [values, vectors] = callOperation(
 *       'SelfAdjointEigV2',
 *       [a],
 *       { compute_v: { type: 'bool', value: true }, T: { type: 'dtype', value: 'float32' } },
 *       2,
 *     );
 *
 * @param inputs in the order of the operation's definition
 * @param attributes at least those for which the operation's definition has no default; an object
 *   that is used again must not have been changed
 * @param outputs the number of tensors that the operation returns
 * @throws if the current backend is not TensorFlow, or if TensorFlow rejects the call
 */
export function callOperation(
  name: string,
  inputs: readonly Tensor[],
  attributes: Attributes,
  outputs: number,
): Tensor[] {
  if (!hasOperations()) throw new Error(`the operation ${name} needs the TensorFlow backend`);
  const backend = tensorflowBackend();
  let encoded = encodings.get(attributes);
  if (encoded === undefined) {
    encoded = encodeAttributes(backend, attributes);
    encodings.set(attributes, encoded);
  }
  // The method expects plain objects, although their type is a class.
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment
  return backend.executeMultipleOutputs(name, encoded, [...inputs], outputs);
}

type Types = Readonly<Record<string, 'int' | 'float' | 'bool'>>;
type Values<T extends Types> = {
  readonly [K in keyof T]: T[K] extends 'bool' ? boolean : number;
};

/**
 * Returns a function that calls an operation with values for the attributes in `types`. Equal
 * values share one object, so that they are encoded once.
 * @param rule tells the operation's outputs, so that it can be part of compiled functions
 * @param list the index of the input that is a list of N tensors, where N is an attribute; absent
 *   if no input is such a list
 */
export function operation<const T extends Types>(
  name: string,
  types: T,
  rule: Rule,
  list?: number,
): (inputs: readonly Tensor[], values: Values<T>, outputs?: number) => Tensor[] {
  ADDED.set(name, { rule, list });
  const made = new Map<string, Attributes>(),
    names = Object.keys(types);
  return (inputs, values, outputs = 1) => {
    const key = names.map((one) => values[one]).join();
    let attributes = made.get(key);
    if (attributes === undefined) {
      attributes = Object.fromEntries(
        names.map((one) => [one, { type: types[one], value: values[one] } as Attribute]),
      );
      made.set(key, attributes);
    }
    return callOperation(name, inputs, attributes, outputs);
  };
}
