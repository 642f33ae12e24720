/**
 * What a region of code computes, recorded operation by operation. Traces that begin with the same
 * operations share points. So a trace that repeats an earlier one ends at the same point, and finds
 * the program that was made there.
 */
import type { DataId } from '@tensorflow/tfjs-core';
import type { Program } from './program.ts';
import type { AttributeValue } from './rules.ts';

/** A tensor's data as tfjs-node keeps it. */
export interface TensorData {
  readonly shape: number[];
  /** TensorFlow's number of the type. */
  readonly dtype: number;
  /** The tensor's number in the binding; negative while it has none. */
  id: number;
  /** The entries while they have not been handed to TensorFlow yet; then null. */
  values: Entries | null;
  readonly refCount: number;
}

export type Entries = Float32Array | Int32Array | Uint8Array;

/**
 * A tensor that an operation of a trace reads: source k is −1 − k, and output j of operation i is
 * i · OUTPUTS + j.
 */
export type Reference = number;
export const OUTPUTS = 1 << 12;

/** The flag in `Operation.types` of an input whose entries are in JavaScript. */
export const MADE = 1 << 16;

export interface Operation {
  readonly name: string;
  readonly attributes: readonly AttributeValue[];
  readonly inputs: readonly Reference[];
  /**
   * TensorFlow's number of each input's type, with the flag MADE if its entries are in JavaScript.
   */
  readonly types: readonly number[];
  /** The number of tensors that the operation returns. */
  readonly outputs: number;
}

const equalValues = (a: unknown, b: unknown): boolean =>
  a === b || (Array.isArray(a) && Array.isArray(b) && equalNumbers(a, b));

/** Whether the numbers are the same: NaN equals NaN, and 0 does not equal −0. */
export function equalNumbers(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return false;
  return true;
}

const equalAttributes = (a: readonly AttributeValue[], b: readonly AttributeValue[]): boolean =>
  a === b ||
  (a.length === b.length &&
    a.every((one, i) => {
      const other = b[i]!;
      return (
        one.name === other.name && one.type === other.type && equalValues(one.value, other.value)
      );
    }));

const typeOf = ({ dtype, values }: TensorData): number => (values === null ? dtype : dtype | MADE);

/**
 * The state after `operation` in all traces that have the same operations up to it. `operation` is
 * null at the start.
 */
export class Point {
  /** Where these traces go on, one point for each next operation. */
  readonly next: Point[] = [];
  /**
   * The programs of traces that ended here, by the references of the tensors that were still in
   * use: `0,4096`.
   */
  readonly programs = new Map<string, Program>();

  constructor(readonly operation: Operation | null) {}
}

/** A tensor that an operation of the trace will return, and whose entries are not computed yet. */
export interface Pending {
  readonly reference: Reference;
  readonly data: TensorData;
  readonly dataId: DataId;
}

/** The operations of a region that were recorded since its tensors were last computed. */
export class Trace {
  readonly operations: Operation[] = [];
  /** The tensors from outside, in the order of their first use. */
  readonly sources: TensorData[] = [];
  readonly pending: Pending[] = [];
  readonly #references = new Map<TensorData, Reference>();

  /** @param made called for each operation that is new at its place in a trace */
  constructor(
    public point: Point,
    private readonly made: () => void,
  ) {}

  /** Whether the data is a source of the trace, or the result of one of its operations. */
  has(data: TensorData): boolean {
    return this.#references.has(data);
  }

  /** Whether the data is the result of an operation of the trace, which is not computed yet. */
  isPending(data: TensorData): boolean {
    return (this.#references.get(data) ?? -1) >= 0;
  }

  /** Returns the reference to the data. Data that is new to the trace becomes a source. */
  reference(data: TensorData): Reference {
    const known = this.#references.get(data);
    if (known !== undefined) return known;
    const reference = -this.sources.push(data);
    this.#references.set(data, reference);
    return reference;
  }

  /**
   * Adds an operation, and goes on to the point after it, which is made if no trace has been there.
   * @param results the tensors that the outputs of the operation will fill; those with a `dataId`
   *   become pending
   */
  add(
    name: string,
    attributes: readonly AttributeValue[],
    inputs: readonly TensorData[],
    results: readonly (TensorData | Omit<Pending, 'reference'>)[],
  ): void {
    const references = inputs.map((data) => this.reference(data)),
      types = inputs.map(typeOf),
      outputs = results.length;
    let point = this.point.next.find(
      ({ operation: known }) =>
        known?.name === name &&
        known.outputs === outputs &&
        equalNumbers(known.inputs, references) &&
        equalNumbers(known.types, types) &&
        equalAttributes(known.attributes, attributes),
    );
    if (point === undefined) {
      point = new Point({ name, attributes, inputs: references, types, outputs });
      this.point.next.push(point);
      this.made();
    }
    const at = this.operations.push(point.operation!) - 1;
    this.point = point;
    results.forEach((result, j) => {
      const reference = at * OUTPUTS + j,
        data = 'dataId' in result ? result.data : result;
      this.#references.set(data, reference);
      if ('dataId' in result) this.pending.push({ reference, ...result });
    });
  }
}
