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
  /** What it is computed in, if it is a matrix product. */
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
  if (a.length !== b.length) return false;
  for (const [i, one] of a.entries()) {
    const other = b[i];
    if (
      other === undefined ||
      one.name !== other.name ||
      one.type !== other.type ||
      !equalValues(one.value, other.value)
    )
      return false;
  }
  return true;
}

/** A prefix of traces: the operations up to this one. */
export class Point {
  readonly next: Point[] = [];
  /** What was still needed where a trace ended here, and the program for it. */
  readonly programs = new Map<string, Program>();

  constructor(readonly operation: Operation | null) {}

  /** Returns the prefix that is longer by this operation. */
  follow(operation: Operation, made: () => void): Point {
    for (const point of this.next) {
      const known = point.operation;
      if (
        known !== null &&
        known.name === operation.name &&
        known.outputs === operation.outputs &&
        known.precision === operation.precision &&
        equalNumbers(known.inputs, operation.inputs) &&
        equalNumbers(known.types, operation.types) &&
        equalAttributes(known.attributes, operation.attributes)
      )
        return point;
    }
    const point = new Point(operation);
    this.next.push(point);
    made();
    return point;
  }
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
    const operation: Operation = {
      name,
      attributes,
      inputs: inputs.map((data) => this.#reference(data)),
      types: inputs.map(({ dtype, values }) => (values === null ? dtype : dtype | MADE)),
      outputs,
      precision,
    };
    this.operations.push(operation);
    this.#point = this.#point.follow(operation, this.made);
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
