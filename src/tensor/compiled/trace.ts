/**
 * What a region of code computes, recorded operation by operation. Traces share their common
 * prefixes, so that while a trace is recorded it finds the program that an earlier one made.
 */
import type { DataId } from '@tensorflow/tfjs-core';
import type { Precision } from './products.ts';
import type { Program } from './program.ts';
import type { AttributeValue, Output } from './rules.ts';

/** A tensor's data as tfjs-node keeps it. */
export interface TensorData {
  readonly shape: number[];
  /** TensorFlow's number of the type. */
  readonly dtype: number;
  /** The tensor's number in the binding; negative while it has none. */
  id: number;
  /** Entries that have not been handed to TensorFlow yet. */
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

/** Marks, in `Operation.types`, a source whose entries come from JavaScript. */
export const MADE = 1 << 16;

export interface Operation {
  readonly name: string;
  readonly attributes: readonly AttributeValue[];
  readonly inputs: readonly Reference[];
  /** TensorFlow's number of each input's type, with MADE. */
  readonly types: readonly number[];
  /** The number of tensors that it returns. */
  readonly outputs: number;
  /**
   * What a matrix product is computed in. Other operations with another one differ all the same.
   */
  readonly precision: Precision;
}

function equalValues(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  return (
    Array.isArray(a) &&
    Array.isArray(b) &&
    a.length === b.length &&
    a.every((value, i) => value === b[i])
  );
}

function equalNumbers(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function equalAttributes(a: readonly AttributeValue[], b: readonly AttributeValue[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    const one = a[i],
      other = b[i];
    if (
      one === undefined ||
      other === undefined ||
      one.name !== other.name ||
      one.type !== other.type ||
      !equalValues(one.value, other.value)
    )
      return false;
  }
  return true;
}

/** The type of an input as `Operation.types` has it. */
const typeOf = ({ dtype, values }: TensorData): number => (values === null ? dtype : dtype | MADE);

/** A prefix of traces: the operations up to this one. */
export class Point {
  readonly next: Point[] = [];
  /** What was still needed where a trace ended here, and the program for it. */
  readonly programs = new Map<string, Program>();

  constructor(readonly operation: Operation | null) {}
}

/** A tensor that an operation of the trace returned, without entries yet. */
export interface Pending {
  readonly reference: Reference;
  readonly data: TensorData;
  readonly dataId: DataId;
}

export class Trace {
  readonly operations: Operation[] = [];
  /** The tensors from outside, in the order of their first use. */
  readonly sources: TensorData[] = [];
  readonly pending: Pending[] = [];
  readonly #references = new Map<TensorData, Reference>();
  #point: Point;

  constructor(
    start: Point,
    private readonly made: () => void,
  ) {
    this.#point = start;
  }

  get point(): Point {
    return this.#point;
  }

  /** Whether the data is a source of the trace, or the result of one of its operations. */
  has(data: TensorData): boolean {
    return this.#references.has(data);
  }

  isPending(data: TensorData): boolean {
    return (this.#references.get(data) ?? -1) >= 0;
  }

  #reference(data: TensorData): Reference {
    const known = this.#references.get(data);
    if (known !== undefined) return known;
    this.sources.push(data);
    const reference = -this.sources.length;
    this.#references.set(data, reference);
    return reference;
  }

  add(
    name: string,
    attributes: readonly AttributeValue[],
    inputs: readonly TensorData[],
    outputs: number,
    precision: Precision,
  ): void {
    const known = this.#point.next.find(
      ({ operation }) =>
        operation !== null &&
        operation.precision === precision &&
        this.#equals(operation, name, attributes, inputs, outputs),
    );
    const point =
      known ??
      new Point({
        name,
        attributes,
        inputs: inputs.map((data) => this.#reference(data)),
        types: inputs.map(typeOf),
        outputs,
        precision,
      });
    if (known === undefined) {
      this.#point.next.push(point);
      this.made();
    }
    if (point.operation !== null) this.operations.push(point.operation);
    this.#point = point;
  }

  /**
   * Whether a recorded operation is the same, and reads the same tensors of the trace. Inputs that
   * it compares get their references here, in the order in which `add` would give them.
   */
  #equals(
    known: Operation,
    name: string,
    attributes: readonly AttributeValue[],
    inputs: readonly TensorData[],
    outputs: number,
  ): boolean {
    if (known.name !== name || known.outputs !== outputs || known.inputs.length !== inputs.length)
      return false;
    for (let i = 0; i < inputs.length; i++) {
      const data = inputs[i];
      if (
        data === undefined ||
        this.#reference(data) !== known.inputs[i] ||
        typeOf(data) !== known.types[i]
      )
        return false;
    }
    return equalAttributes(known.attributes, attributes);
  }

  /** Records that a tensor is output j of the operation that was added last. */
  returned(j: number, data: TensorData, dataId: DataId): void {
    const reference = (this.operations.length - 1) * OUTPUTS + j;
    this.#references.set(data, reference);
    this.pending.push({ reference, data, dataId });
  }
}

export const shapesDiffer = (found: Output, expected: Output): boolean =>
  found.dtype !== expected.dtype || !equalNumbers(found.shape, expected.shape);
