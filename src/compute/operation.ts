/**
 * Calls any TensorFlow operation, including those that tfjs does not wrap (SelfAdjointEigV2, Svd,
 * …).
 */
import type { DataType, Tensor } from '@tensorflow/tfjs-core';
import { findBackend, getBackend } from '@tensorflow/tfjs-core';
import type { NodeJSKernelBackend } from '@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js';

/**
 * An attribute of an operation, with the type that TensorFlow's definition of the operation gives
 * it.
 */
export type Attribute =
  | { readonly type: 'int' | 'float'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'shape'; readonly value: readonly number[] }
  | { readonly type: 'dtype'; readonly value: DataType };

/** Whether `callOperation` can be used, which is so if the current backend is TensorFlow. */
export function hasOperations(): boolean {
  return getBackend() === 'tensorflow';
}

/** The backend object of tfjs-node. `loadBackend('tensorflow')` must have been called. */
export function tensorflowBackend(): NodeJSKernelBackend {
  // tfjs types all backends alike.
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment
  return findBackend('tensorflow') as NodeJSKernelBackend;
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
 * @param attributes at least those for which the operation's definition has no default
 * @param outputs the number of tensors that the operation returns
 * @throws if the current backend is not TensorFlow, or if TensorFlow rejects the call
 */
export function callOperation(
  name: string,
  inputs: readonly Tensor[],
  attributes: { readonly [name: string]: Attribute },
  outputs: number,
): Tensor[] {
  if (!hasOperations()) throw new Error(`the operation ${name} needs the TensorFlow backend`);
  const backend = tensorflowBackend();
  const { binding } = backend;
  const types = {
    int: binding.TF_ATTR_INT,
    float: binding.TF_ATTR_FLOAT,
    bool: binding.TF_ATTR_BOOL,
    string: binding.TF_ATTR_STRING,
    shape: binding.TF_ATTR_SHAPE,
    dtype: binding.TF_ATTR_TYPE,
  };
  const encoded = Object.entries(attributes).map(([key, attribute]) => ({
    name: key,
    type: types[attribute.type],
    value:
      attribute.type === 'dtype'
        ? backend.getDTypeInteger(attribute.value)
        : attribute.type === 'shape'
          ? [...attribute.value]
          : attribute.value,
  }));
  // The method expects plain objects, although their type is a class.
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment
  return backend.executeMultipleOutputs(name, encoded, [...inputs], outputs);
}
