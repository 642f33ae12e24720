/**
 * A program computes the tensors of a trace that are still in use: in its first runs operation by
 * operation, then by one function of TensorFlow. Our addition to the binding (src/tensor/native)
 * makes such functions.
 */
import { type AttributeValue, listLengths } from './rules.ts';
import {
  type Entries,
  equalNumbers,
  MADE,
  type Operation,
  OUTPUTS,
  type Pending,
  type Reference,
  type TensorData,
} from './trace.ts';

interface Result {
  readonly id: number;
  readonly shape: number[];
  readonly dtype: number;
}

/** What is used of tfjs-node's binding; set-up adds `addFunction` and `removeFunction` to it. */
export interface Binding {
  createTensor(shape: readonly number[], dtype: number, values: Entries): number;
  deleteTensor(id: number): void;
  /**
   * Carries out an operation, or a function that was added.
   * @param inputs the numbers of tensors
   * @param outputs the number of outputs
   */
  executeOp(
    name: string,
    attributes: readonly AttributeValue[],
    inputs: readonly number[],
    outputs: number,
  ): readonly Result[];
  /**
   * @param operations each after the operations whose outputs it reads; a `Placeholder` is an
   *   argument of the function
   * @param outputs two numbers for each output of the function: the index of an operation, and
   *   which of its outputs
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

/** An operation of a function, as `addFunction` takes it. */
interface Node {
  readonly op: string;
  readonly attrs: readonly AttributeValue[];
  /** Two numbers for each input: the index of an operation, and which of its outputs. */
  readonly inputs: readonly number[];
  /** For each input, what `listLengths` returns. */
  readonly lists: readonly number[];
}

/** A tensor made in JavaScript whose entries were the same in every run. */
interface Fixed {
  readonly shape: readonly number[];
  readonly values: Entries;
}

interface Constant extends Fixed {
  readonly op: 'Const';
  readonly dtype: number;
}

let functionCount = 0;

const newFunctionName = (): string => `recorded_${process.hrtime.bigint()}_${functionCount++}`;

const placeholder = ({ TF_ATTR_TYPE: type }: Binding, dtype: number): Node => ({
  op: 'Placeholder',
  attrs: [{ name: 'dtype', type, value: dtype }],
  inputs: [],
  lists: [],
});

/**
 * Operations of one input that TensorFlow replaces in functions by kernels of oneDNN, which round
 * differently. When operations are carried out one by one, each of these is a function of its own,
 * so that results have the same bits whether they are compiled or not.
 */
const REPLACED = new Set(['Softmax']);

export const isReplaced = (name: string): boolean => REPLACED.has(name);

/**
 * The names of the functions that consist of one operation in REPLACED, by the operation and its
 * attributes as JSON.
 */
const singleFunctions = new Map<string, string>();

/**
 * Carries out one operation and returns its outputs. An operation in REPLACED is carried out as a
 * function, which is made at the first call with the same attributes.
 * @param inputs the numbers of the inputs in the binding
 * @param types as in `Operation`
 * @param outputs the number of outputs
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
  let name = singleFunctions.get(key);
  if (name === undefined) {
    name = newFunctionName();
    const operation = { op, attrs, inputs: [0, 0], lists: [-1] };
    binding.addFunction(name, [placeholder(binding, type & ~MADE), operation], [1, 0]);
    singleFunctions.set(key, name);
  }
  return binding.executeOp(name, [], inputs, 1);
}

/** A tensor made in JavaScript can be part of a function if it has at most this many entries. */
const SMALL = 64;

/**
 * How often a program's function is made again because a constant of it changed. After that, no
 * tensor made in JavaScript is a constant of it.
 */
const REVISIONS = 4;

/**
 * Returns what `run` returns.
 * @param run is given a function that returns a source's number in the binding. A source whose
 *   entries are in JavaScript is in the binding only until `run` has returned.
 */
function withSources<T>(
  binding: Binding,
  sources: readonly TensorData[],
  run: (idOf: (source: number) => number) => T,
): T {
  const made = new Map<number, number>();
  try {
    return run((source) => {
      const { id, values, shape, dtype } = sources[source]!;
      if (values === null) return id;
      const created = made.get(source) ?? binding.createTensor(shape, dtype, values);
      made.set(source, created);
      return created;
    });
  } finally {
    for (const id of made.values()) binding.deleteTensor(id);
  }
}

export class Program {
  /** The operations that the outputs depend on, each with its index in the trace. */
  readonly #needed: readonly { readonly at: number; readonly operation: Operation }[];
  /** The sources that these operations read. */
  readonly #read: readonly number[];
  /** The small sources made in JavaScript whose entries were the same in every run, by source. */
  readonly #fixed = new Map<number, Fixed>();
  /** How often the program has run. */
  #sightings = 0;
  /** In how many runs a source of `#fixed` had changed. */
  #revisions = 0;
  /** The function of TensorFlow, and the sources that are its arguments. */
  #function: { readonly name: string; readonly arguments: readonly number[] } | null = null;
  /** Why TensorFlow refused to make a function of the program; null where it did not refuse. */
  refused: string | null = null;

  /**
   * @param made called for each function that is made, with the number of its operations and the
   *   seconds that making it took
   */
  constructor(
    operations: readonly Operation[],
    private readonly outputs: readonly Reference[],
    private readonly made: (operations: number, seconds: number) => void,
  ) {
    // A reference is −1 − k for source k, and i · OUTPUTS + j for output j of operation i.
    const wanted = new Set<number>(outputs.map((reference) => Math.floor(reference / OUTPUTS))),
      read = new Set<number>();
    for (const [at, { inputs }] of [...operations.entries()].reverse()) {
      if (!wanted.has(at)) continue;
      for (const input of inputs)
        if (input < 0) read.add(-1 - input);
        else wanted.add(Math.floor(input / OUTPUTS));
    }
    this.#needed = operations.flatMap((operation, at) =>
      wanted.has(at) ? [{ at, operation }] : [],
    );
    this.#read = [...read].sort((a, b) => a - b);
  }

  /** The number of operations of the program's function; 0 where it has none. */
  get compiled(): number {
    return this.#function === null ? 0 : this.#needed.length;
  }

  dispose(binding: Binding): void {
    if (this.#function !== null) binding.removeFunction(this.#function.name);
    this.#function = null;
  }

  /**
   * Computes the needed tensors, and sets their numbers in the binding. Throws an Error if one
   * comes out with another shape or type than was recorded.
   * @param needed the tensors to set, in the order of the program's outputs
   * @param sightings as for `prepareCompiling`
   */
  run(
    binding: Binding,
    sources: readonly TensorData[],
    needed: readonly Pending[],
    sightings: number,
  ): void {
    if (this.#updateFixed(sources)) {
      this.dispose(binding);
      if (++this.#revisions > REVISIONS) this.#fixed.clear();
    }
    if (++this.#sightings > sightings && this.#function === null && this.refused === null)
      this.#compile(binding, sources);
    const made = this.#function;
    const results = withSources(binding, sources, (idOf) =>
      made === null
        ? this.#runEagerly(binding, idOf)
        : binding.executeOp(made.name, [], made.arguments.map(idOf), this.outputs.length),
    );
    for (const [i, { data }] of needed.entries()) {
      const result = results[i];
      if (result?.dtype !== data.dtype || !equalNumbers(result.shape, data.shape))
        throw new Error(
          `a recorded operation returned ${JSON.stringify(result)} for ${JSON.stringify(data)}`,
        );
      data.id = result.id;
    }
  }

  /**
   * In the first run, fills `#fixed` and returns false. Later, drops from it what has changed, and
   * returns whether anything has.
   */
  #updateFixed(sources: readonly TensorData[]): boolean {
    if (this.#sightings === 0) {
      for (const k of this.#read) {
        const { values, shape } = sources[k]!;
        if (values !== null && values.length <= SMALL)
          this.#fixed.set(k, { shape: [...shape], values: values.slice() });
      }
      return false;
    }
    let changed = false;
    for (const [k, { shape, values }] of this.#fixed) {
      const now = sources[k]!;
      if (now.values && equalNumbers(now.values, values) && equalNumbers(now.shape, shape))
        continue;
      this.#fixed.delete(k);
      changed = true;
    }
    return changed;
  }

  /**
   * Makes a function of the needed operations, whose arguments are the sources that are not in
   * `#fixed`. If TensorFlow does not accept it, sets `refused` instead.
   */
  #compile(binding: Binding, sources: readonly TensorData[]): void {
    const started = performance.now();
    const nodes: (Node | Constant)[] = [],
      places = new Map<Reference, number>();
    for (const k of this.#read) {
      const fixed = this.#fixed.get(k),
        { dtype } = sources[k]!;
      const count = nodes.push(
        fixed === undefined ? placeholder(binding, dtype) : { op: 'Const', dtype, ...fixed },
      );
      places.set(-1 - k, count - 1);
    }
    const place = (reference: Reference): [number, number] =>
      reference < 0
        ? [places.get(reference)!, 0]
        : [places.get(Math.floor(reference / OUTPUTS) * OUTPUTS)!, reference % OUTPUTS];
    for (const { at, operation } of this.#needed) {
      const { name, attributes, inputs } = operation;
      const count = nodes.push({
        op: name,
        attrs: attributes,
        inputs: inputs.flatMap(place),
        lists: listLengths(name, attributes, inputs.length),
      });
      places.set(at * OUTPUTS, count - 1);
    }
    const name = newFunctionName();
    try {
      binding.addFunction(name, nodes, this.outputs.flatMap(place));
    } catch (error) {
      this.refused = (error as Error).message;
      return;
    }
    this.#function = { name, arguments: this.#read.filter((k) => !this.#fixed.has(k)) };
    this.made(this.#needed.length, (performance.now() - started) / 1000);
  }

  /** Runs one operation after the other. A result that is no output is freed after its last use. */
  #runEagerly(binding: Binding, idOf: (source: number) => number): readonly Result[] {
    const last = new Map<Reference, number>();
    for (const { at, operation } of this.#needed)
      for (const input of operation.inputs) last.set(input, at);
    const kept = new Set(this.outputs),
      results = new Map<Reference, Result>();
    for (const { at, operation } of this.#needed) {
      const { name, attributes, inputs, types, outputs } = operation;
      const ids = inputs.map((input) => (input < 0 ? idOf(-1 - input) : results.get(input)!.id));
      const made = execute(binding, name, attributes, ids, types, outputs);
      for (const [j, result] of made.entries()) {
        const reference = at * OUTPUTS + j;
        if (kept.has(reference) || last.has(reference)) results.set(reference, result);
        else binding.deleteTensor(result.id);
      }
      for (const input of new Set(inputs)) {
        const result = results.get(input);
        if (result === undefined || last.get(input) !== at || kept.has(input)) continue;
        binding.deleteTensor(result.id);
        results.delete(input);
      }
    }
    return this.outputs.map((reference) => results.get(reference)!);
  }
}
