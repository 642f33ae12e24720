/** Functions of TensorFlow, which our addition to the binding (src/tensor/native) makes. */
import type { AttributeValue } from './rules.ts';
import { type Entries, MADE } from './trace.ts';

export interface Result {
  readonly id: number;
  readonly shape: number[];
  readonly dtype: number;
}

/** The part of the binding that is used here; set-up adds the last two functions. */
export interface Binding {
  createTensor(shape: readonly number[], dtype: number, values: Entries): number;
  deleteTensor(id: number): void;
  executeOp(
    name: string,
    attributes: readonly AttributeValue[],
    inputs: readonly number[],
    outputs: number,
  ): readonly Result[];
  /**
   * @param operations each after those whose outputs it reads; `Placeholder`s are the arguments
   * @param outputs two numbers for each: the operation, and which of its outputs
   * @throws if TensorFlow does not accept an operation
   */
  addFunction(
    name: string,
    operations: readonly (Node | Constant)[],
    outputs: readonly number[],
  ): void;
  removeFunction(name: string): void;
  readonly TF_ATTR_TYPE: number;
  readonly TF_ATTR_BOOL: number;
}

export interface Node {
  readonly op: string;
  readonly attrs: readonly AttributeValue[];
  /** Two numbers for each input, as the outputs of the function. */
  readonly inputs: readonly number[];
  /** As `listsOf` returns them. */
  readonly lists: readonly number[];
}

export interface Constant {
  readonly op: 'Const';
  readonly dtype: number;
  readonly shape: readonly number[];
  readonly values: Entries;
}

let named = 0;

/** A name that no other function of this process has. */
export const functionName = (): string => `recorded_${process.hrtime.bigint()}_${named++}`;

/**
 * Operations of one input that TensorFlow replaces in functions by kernels of oneDNN, which round
 * differently. When operations are carried out one by one, each of these is a function of its own,
 * so that results have the same bits whether they are compiled or not.
 */
const REPLACED = new Set(['Softmax']);

export const isReplaced = (name: string): boolean => REPLACED.has(name);

/** Functions of one operation, by the operation with its attributes. */
const single = new Map<string, string>();

/**
 * Carries out one operation.
 * @param types TensorFlow's number of each input's type
 */
export function execute(
  binding: Binding,
  op: string,
  attrs: readonly AttributeValue[],
  inputs: readonly number[],
  types: readonly number[],
  outputs: number,
): readonly Result[] {
  const [type] = types;
  if (!REPLACED.has(op) || type === undefined) return binding.executeOp(op, attrs, inputs, outputs);
  const key = JSON.stringify([op, attrs]);
  let name = single.get(key);
  if (name === undefined) {
    name = functionName();
    const dtype = [{ name: 'dtype', type: binding.TF_ATTR_TYPE, value: type & ~MADE }];
    binding.addFunction(
      name,
      [
        { op: 'Placeholder', attrs: dtype, inputs: [], lists: [] },
        { op, attrs, inputs: [0, 0], lists: [-1] },
      ],
      [1, 0],
    );
    single.set(key, name);
  }
  return binding.executeOp(name, [], inputs, 1);
}
