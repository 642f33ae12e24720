/**
 * A program computes the tensors of a trace that are still in use: operation by operation the first
 * times, then as one function of TensorFlow.
 */
import {
  type Binding,
  type Constant,
  execute,
  functionName,
  type Node,
  type Result,
} from './functions.ts';
import { packable, type Packing, type Packs, withPacked } from './packs.ts';
import { withBfloat16Products } from './products.ts';
import { listsOf } from './rules.ts';
import type { Entries, Operation, Pending, Reference, TensorData } from './trace.ts';
import { OUTPUTS, shapesDiffer } from './trace.ts';

/**
 * How often a function is called before it is made again so that it reads packed weights. A copy
 * costs as much as several calls gain by it.
 */
const PACKING = 12;

/** A tensor made in JavaScript can be part of a function if it has at most this many entries. */
const SMALL = 64;

/** How often a function is made again because a value changed that had been the same so far. */
const REVISIONS = 4;

/** A tensor made in JavaScript whose entries have been the same so far. */
interface Fixed {
  readonly shape: readonly number[];
  readonly values: Entries;
}

/** A source that a function is given packed. */
interface Packed {
  readonly source: number;
  readonly packing: Packing;
}

/**
 * A function of TensorFlow, and the sources that are its arguments, the packed ones after others.
 */
interface Compiled {
  readonly name: string;
  readonly arguments: readonly number[];
  /** Null until weights may be packed. */
  readonly packed: readonly Packed[] | null;
}

const equal = (a: ArrayLike<number>, b: ArrayLike<number>): boolean => {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return false;
  return true;
};

/** Makes the tensors of sources whose entries are in JavaScript, and disposes of them. */
class Lent {
  readonly #ids: number[] = [];
  constructor(private readonly binding: Binding) {}

  id({ id, values, shape, dtype }: TensorData): number {
    if (values === null) return id;
    const made = this.binding.createTensor(shape, dtype, values);
    this.#ids.push(made);
    return made;
  }

  dispose(): void {
    for (const id of this.#ids) this.binding.deleteTensor(id);
  }
}

export class Program {
  /** Operations that something needed depends on. */
  readonly #needed: readonly { readonly at: number; readonly operation: Operation }[];
  /** The sources that they read. */
  readonly #read: readonly number[];
  /** Those of them that are another source in bfloat16, with the number of that source. */
  readonly #casts: readonly (readonly [source: number, of: number])[];
  readonly #outputs: readonly Reference[];
  /** For each source whose entries never changed, those entries. */
  readonly #fixed = new Map<number, Fixed>();
  #sightings = 0;
  #revisions = 0;
  #function: Compiled | null = null;
  #refused: string | null = null;

  /**
   * @param sources the number of tensors from outside
   * @param made told each function that is made: its operations, and the seconds it took
   */
  constructor(
    recorded: readonly Operation[],
    needed: readonly Reference[],
    sources: number,
    private readonly made: (operations: number, seconds: number) => void,
  ) {
    const { operations, outputs, casts } = withBfloat16Products(recorded, needed, sources);
    const wanted = new Set<number>(outputs.map((reference) => Math.floor(reference / OUTPUTS))),
      read = new Set<number>();
    for (let at = operations.length - 1; at >= 0; at--) {
      const operation = operations[at];
      if (operation === undefined || !wanted.has(at)) continue;
      for (const input of operation.inputs)
        if (input < 0) read.add(-1 - input);
        else wanted.add(Math.floor(input / OUTPUTS));
    }
    this.#needed = operations.flatMap((operation, at) =>
      wanted.has(at) ? [{ at, operation }] : [],
    );
    this.#read = [...read].sort((a, b) => a - b);
    this.#casts = [...casts].filter(([source]) => read.has(source));
    this.#outputs = outputs;
  }

  /** Why TensorFlow made no function of it; null where it made one, or was not asked to. */
  get refused(): string | null {
    return this.#refused;
  }

  /** The number of operations of its function; 0 where it has none. */
  get compiled(): number {
    return this.#function === null ? 0 : this.#needed.length;
  }

  dispose(binding: Binding): void {
    if (this.#function !== null) binding.removeFunction(this.#function.name);
    this.#function = null;
  }

  /**
   * Computes the needed tensors, and hands them their numbers in the binding.
   * @param sightings how often the program is run operation by operation before it is compiled
   * @param cast returns a tensor in bfloat16
   * @param packs of weights that do not change, for the function
   */
  run(
    binding: Binding,
    given: readonly TensorData[],
    needed: readonly Pending[],
    sightings: number,
    cast: (data: TensorData) => TensorData,
    packs: Packs,
  ): void {
    const sources = [...given];
    for (const [source, of] of this.#casts) sources[source] = cast(given[of] as TensorData);
    if (this.#compare(sources)) {
      this.dispose(binding);
      if (++this.#revisions > REVISIONS) this.#fixed.clear();
    }
    this.#sightings++;
    if (this.#isToBeMade(sightings))
      this.#compile(binding, sources, this.#sightings > sightings + PACKING ? packs : null);
    const results =
      this.#function === null
        ? this.#eagerly(binding, sources)
        : this.#call(binding, this.#function, sources, packs);
    for (const [i, { data }] of needed.entries()) {
      const result = results[i];
      if (result === undefined || shapesDiffer(result, data))
        throw new Error(
          `a recorded operation returned ${JSON.stringify(result)} for ${JSON.stringify(data)}`,
        );
      data.id = result.id;
    }
  }

  /** Whether the function is to be made now, for the first time or again with packed weights. */
  #isToBeMade(sightings: number): boolean {
    if (this.#refused !== null || this.#sightings <= sightings) return false;
    if (this.#function === null) return true;
    return (
      this.#function.packed === null &&
      this.#sightings > sightings + PACKING &&
      this.#needed.some(({ operation }) => packable(operation) !== null)
    );
  }

  /** Compares entries with those seen before. Returns whether some changed for the first time. */
  #compare(sources: readonly TensorData[]): boolean {
    if (this.#sightings === 0) {
      for (const k of this.#read) {
        const { values, shape } = sources[k] as TensorData;
        if (values !== null && values.length <= SMALL)
          this.#fixed.set(k, { shape: [...shape], values: values.slice() });
      }
      return false;
    }
    let changed = false;
    for (const [k, { shape, values }] of this.#fixed) {
      const now = sources[k] as TensorData;
      if (now.values !== null && equal(now.values, values) && equal(now.shape, shape)) continue;
      this.#fixed.delete(k);
      changed = true;
    }
    return changed;
  }

  /** The weights that a function is to be given packed, with the operations that read each. */
  #packed(sources: readonly TensorData[], packs: Packs): (Packed & { at: number[] })[] {
    const packed = new Map<string, Packed & { at: number[] }>();
    for (const { at, operation } of this.#needed) {
      const found = packable(operation);
      if (found === null) continue;
      const key = JSON.stringify(found),
        known = packed.get(key);
      if (known === undefined) packed.set(key, { ...found, at: [at] });
      else known.at.push(at);
    }
    const fits = packs.fitting(
      [...packed.values()].map(({ source, packing }) => ({
        data: sources[source] as TensorData,
        packing,
      })),
    );
    return [...packed.values()].filter((_, i) => fits[i]);
  }

  /** @param packs null where no weights are to be packed */
  #compile(binding: Binding, sources: readonly TensorData[], packs: Packs | null): void {
    const started = performance.now();
    this.dispose(binding);
    const nodes: (Node | Constant)[] = [],
      places = new Map<Reference, number>();
    const placeholder = (dtype: number): Node => ({
      op: 'Placeholder',
      attrs: [{ name: 'dtype', type: binding.TF_ATTR_TYPE, value: dtype }],
      inputs: [],
      lists: [],
    });
    for (const k of this.#read) {
      places.set(-1 - k, nodes.length);
      const fixed = this.#fixed.get(k),
        { dtype } = sources[k] as TensorData;
      nodes.push(fixed === undefined ? placeholder(dtype) : { op: 'Const', dtype, ...fixed });
    }
    const packed = packs === null ? null : this.#packed(sources, packs),
      weights = new Map<number, [number, number]>();
    for (const { source, at } of packed ?? []) {
      for (const reader of at) weights.set(reader, [nodes.length, 0]);
      nodes.push(placeholder((sources[source] as TensorData).dtype));
    }
    const place = (reference: Reference): [number, number] =>
      reference < 0
        ? [places.get(reference) ?? -1, 0]
        : [places.get(Math.floor(reference / OUTPUTS) * OUTPUTS) ?? -1, reference % OUTPUTS];
    for (const { at, operation } of this.#needed) {
      const { name, attributes, inputs } = operation,
        weight = weights.get(at),
        own = inputs.map(place);
      const read =
        weight === undefined ? { attributes, inputs: own } : withPacked(operation, own, weight);
      nodes.push({
        op: name,
        attrs: read.attributes,
        inputs: read.inputs.flat(),
        lists: listsOf(name, attributes, inputs.length),
      });
      places.set(at * OUTPUTS, nodes.length - 1);
    }
    const name = functionName();
    try {
      binding.addFunction(name, nodes, this.#outputs.flatMap(place));
    } catch (error) {
      this.#refused = (error as Error).message;
      return;
    }
    this.#function = { name, arguments: this.#read.filter((k) => !this.#fixed.has(k)), packed };
    this.made(this.#needed.length, (performance.now() - started) / 1000);
  }

  #call(
    binding: Binding,
    own: Compiled,
    sources: readonly TensorData[],
    packs: Packs,
  ): readonly Result[] {
    const lent = new Lent(binding);
    try {
      const ids = own.arguments.map((k) => lent.id(sources[k] as TensorData));
      for (const { source, packing } of own.packed ?? [])
        ids.push(packs.of(sources[source] as TensorData, packing).id);
      return binding.executeOp(own.name, [], ids, this.#outputs.length);
    } finally {
      lent.dispose();
    }
  }

  /** Runs one operation after the other. A tensor is freed after its last use. */
  #eagerly(binding: Binding, sources: readonly TensorData[]): readonly Result[] {
    const last = new Map<Reference, number>();
    for (const { at, operation } of this.#needed)
      for (const input of operation.inputs) last.set(input, at);
    const kept = new Set(this.#outputs),
      results = new Map<Reference, Result>(),
      lent = new Lent(binding),
      ids = new Map<Reference, number>();
    const idOf = (reference: Reference): number => {
      const known = results.get(reference)?.id ?? ids.get(reference);
      if (known !== undefined) return known;
      const id = lent.id(sources[-1 - reference] as TensorData);
      ids.set(reference, id);
      return id;
    };
    try {
      for (const { at, operation } of this.#needed) {
        const { name, attributes, inputs, types, outputs } = operation;
        const made = execute(binding, name, attributes, inputs.map(idOf), types, outputs);
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
    } finally {
      lent.dispose();
    }
    return this.#outputs.map((reference) => {
      const result = results.get(reference);
      if (result === undefined) throw new Error('a needed tensor was not computed');
      return result;
    });
  }
}
