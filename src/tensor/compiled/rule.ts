/** What the rules of operations are made of, TensorFlow's (rules.ts) and ours (fused-rules.ts). */

/** A tensor as the rules see it. */
export interface Value {
  readonly shape: readonly number[];
  /** TensorFlow's number of the type. */
  readonly dtype: number;
  /** The entries, where they are known before the operation runs. */
  readonly values: ArrayLike<number> | null;
}

export interface AttributeValue {
  readonly name: string;
  readonly type: number;
  readonly value: unknown;
}

export type Output = Pick<Value, 'shape' | 'dtype'>;

export interface Rule {
  /**
   * Which input of the operation's definition is a list, of as many tensors as the attribute N
   * says. Default: each is a single tensor.
   */
  readonly list?: number;
  /** Returns null where the shapes depend on entries that are not known. */
  readonly outputs: (
    inputs: readonly Value[],
    attribute: (name: string) => unknown,
  ) => readonly Output[] | null;
}

/** The first of an operation's inputs. Throws if it has none. */
export const first = (inputs: readonly Value[]): Value => {
  const [value] = inputs;
  if (value === undefined) throw new Error('an operation has no input');
  return value;
};

/** The rule of an operation whose output is like its first input. */
export const same: Rule = { outputs: ([x]) => (x === undefined ? null : [x]) };
