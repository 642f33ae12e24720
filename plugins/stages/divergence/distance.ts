/** Measures M, and the noise floor that it is compared with, step by step. */
import { UserFault } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { at } from '../../../src/base/lookup.ts';
import { layerChange, type ModelWeights } from '../../../src/science/measures/weights/effective.ts';
import type { Adapter } from '../../../src/science/models/adapter.ts';
import { within } from '../../../src/science/models/modules.ts';
import type { LinearLayer, ParameterSpec } from '../../../src/science/models/types.ts';
import { yieldToEventLoop } from '../shared/event-loop.ts';
import { type Metrics, numbersIn } from '../shared/files.ts';
import type { Trainings } from './trainings.ts';

export interface Point extends RunDistance {
  readonly step: number;
  /** The distance between the clean run and its repetition; null if it was not measured. */
  readonly floor: MeanDistance | null;
}

export type NoiseFloor =
  | {
      readonly measured: true;
      readonly method: string;
      /** The number of checkpoints of M that the repeated run kept too. */
      readonly checkpoints: number;
      readonly mean: MeanDistance;
    }
  | { readonly measured: false; readonly method: null; readonly reason: string };

/** How the noise floor was measured, as results say it. */
export const FLOOR =
  'the clean run, trained once more by itself with the rows of each batch in reverse order, ' +
  'so that the same sums are added up in another order';

/** Returns M at one step, and the noise floor if the repeated run has a model there too. */
export function distanceAt(
  step: number,
  start: ModelWeights,
  { poisoned, clean, repeated }: Trainings,
  signal: AbortSignal,
): Promise<Point> {
  return clean.at(step, (cleanModel) =>
    poisoned.at(step, async (poisonedModel): Promise<Point> => {
      const moved = movedBy(poisonedModel, [poisonedModel.adapter, start.adapter]);
      const distances = (...others: readonly ModelWeights[]) =>
        compareRuns(start, cleanModel, others, moved, () => yieldToEventLoop(signal));
      if (repeated === null || !repeated.steps.includes(step)) {
        return { step, ...at(await distances(poisonedModel), 0), floor: null };
      }
      return repeated.at(step, async (repeatedModel) => {
        const found = await distances(poisonedModel, repeatedModel);
        const { layers: _layers, ...floor } = at(found, 1);
        return { step, ...at(found, 0), floor };
      });
    }),
  );
}

/**
 * Returns the mean of the noise floor over all points that have one.
 * @param reason why no point has one, if that is known already
 */
export function meanNoiseFloor(
  points: readonly Point[],
  reason = 'there is no step that the repeated run and both compared runs kept',
): NoiseFloor {
  const floors = points.flatMap(({ floor }) => floor ?? []),
    { length: checkpoints } = floors;
  return checkpoints === 0
    ? { measured: false, method: null, reason }
    : { measured: true, method: FLOOR, checkpoints, mean: meanOver(floors) };
}

/**
 * Returns `PART.over_floor`, Σ L2 of M / Σ L2 of the floor, over the steps that have a floor. A
 * part is left out if its floor is 0 or not measured.
 */
export function overFloor(points: readonly Point[]): Record<string, number> {
  const ratios: Record<string, number> = {};
  for (const part of ['total', 'trained', 'head'] as const) {
    let distance = 0;
    let noise = 0;
    for (const { floor, ...point } of points) {
      if (floor === null) continue;
      distance += point[part]?.l2 ?? 0;
      noise += floor[part]?.l2 ?? 0;
    }
    if (noise > 0) ratios[`${part}.over_floor`] = distance / noise;
  }
  return ratios;
}

/** The distance between two trainings with a common start, in everything that they train. */
interface RunDistance {
  /** The distance of each effective weight that training moves, by its name in the checkpoint. */
  readonly layers: Readonly<Record<string, Distance>>;
  /** `layers` as one vector, by which adapters are compared; null if no layer is trained. */
  readonly total: Distance | null;
  /** `layers` and `kinds` as one vector, all that is trained below the head; null if nothing is. */
  readonly trained: Distance | null;
  /**
   * The distance of the trained parameters below the head that are no layer's weight, by kind. A
   * kind that is not trained is absent.
   */
  readonly kinds: Readonly<Partial<Record<Kind, Distance>>>;
  /**
   * The distance of the head that the task adds. Null if the head is pretrained (cloze): its
   * trained parameters then count in `layers` and `kinds`.
   */
  readonly head: Distance | null;
}

export type MeanDistance = Omit<RunDistance, 'layers'>;

/** The sums of one run's differences from the clean run, by layer and by other part. */
interface Gathered {
  readonly layers: Map<string, Sums>;
  readonly parts: Map<Kind | 'head', Sums>;
}

const readValues = async (weights: ModelWeights, name: string): Promise<Float32Array> =>
  (await weights.read(name)).data as Float32Array;

/** Returns the distance over several parts, taken as one vector; null if there are no parts. */
const jointDistance = (parts: readonly Sums[]): Distance | null =>
  parts.length === 0 ? null : distanceOf(pooledSums(parts));

function distanceOfRun({ layers, parts }: Gathered): RunDistance {
  const ofLayers = [...layers.values()];
  const belowHead = [...parts].flatMap(([part, sums]) => (part === 'head' ? [] : [sums]));
  /** Returns the distance of a part that is no layer; null if the part is not trained. */
  const distanceOfPart = (part: Kind | 'head') => {
    const sums = parts.get(part);
    return sums === undefined ? null : distanceOf(sums);
  };
  return {
    layers: Object.fromEntries([...layers].map(([name, sums]) => [name, distanceOf(sums)])),
    total: jointDistance(ofLayers),
    trained: jointDistance([...ofLayers, ...belowHead]),
    kinds: byKind(distanceOfPart),
    head: distanceOfPart('head'),
  };
}

/** Returns what `get` returns for each kind, without the kinds for which it returns null. */
const byKind = (get: (kind: Kind) => Distance | null): RunDistance['kinds'] =>
  defined(Object.fromEntries(KINDS.map((kind) => [kind, get(kind) ?? undefined])));

/**
 * Returns the distance of each of `others` from `clean`; all have the same start. Holds one tensor
 * of each run on the host at a time.
 * @param between called, and awaited, after each parameter, so that the worker can send heartbeats
 * and receive aborts
 */
async function compareRuns(
  start: ModelWeights,
  clean: ModelWeights,
  others: readonly ModelWeights[],
  moved: Moved,
  between: () => Promise<void>,
): Promise<RunDistance[]> {
  const found = others.map((): Gathered => ({ layers: new Map(), parts: new Map() }));
  for (const layer of moved.layers) {
    const { change } = await layerChange(start, clean, layer);
    for (const [i, other] of others.entries()) {
      const ofOther = await layerChange(start, other, layer);
      found[i]!.layers.set(clean.fileName(`${layer.name}.weight`), sumsOf(change, ofOther.change));
      await between();
    }
  }
  for (const [part, specs] of [...moved.parameters, ['head', moved.head] as const])
    for (const { name } of specs) {
      const [from, one] = [await readValues(start, name), await readValues(clean, name)];
      for (const [i, other] of others.entries()) {
        const { parts } = found[i]!,
          sums = sumsOf(one, await readValues(other, name), from);
        parts.set(part, pooledSums([parts.get(part) ?? NOTHING, sums]));
      }
      await between();
    }
  return found.map(distanceOfRun);
}

/**
 * Returns E_t, the mean over the checkpoints of a training, of each part. All checkpoints have the
 * same parts; a part that they lack is null, and a kind that they lack is absent.
 */
export function meanOver(points: readonly MeanDistance[]): MeanDistance {
  const mean = (get: (point: MeanDistance) => Distance | null | undefined): Distance | null => {
    const parts = points.flatMap((point) => get(point) ?? []);
    return parts.length === 0 ? null : meanDistance(parts);
  };
  return {
    total: mean(({ total }) => total),
    trained: mean(({ trained }) => trained),
    kinds: byKind((kind) => mean(({ kinds }) => kinds[kind])),
    head: mean(({ head }) => head),
  };
}

/**
 * Returns the numbers of all parts, with names such as `total.l2` and `biases.relative`. What is
 * null is left out.
 * @param skip the name of a number to leave out, such as `clean_change`
 */
export function flatDistances({ kinds, ...parts }: MeanDistance, prefix = '', skip = ''): Metrics {
  const metrics: Metrics = {};
  for (const [part, distance] of Object.entries({ ...parts, ...kinds })) {
    const { [skip]: _skipped, ...numbers } = (distance ?? {}) as Metrics;
    Object.assign(metrics, numbersIn(numbers, `${prefix}${part}.`));
  }
  return metrics;
}

/**
 * Kinds of parameters. `biases`: those of linear layers and of an output; `norms`: scales and
 * shifts; `embeddings`: tables that ids index, and any other matrix that is not a linear layer's
 * weight; `other`: everything else.
 */
const KINDS = ['biases', 'norms', 'embeddings', 'other'] as const;
type Kind = (typeof KINDS)[number];

/** The parameters that a training moves. */
interface Moved {
  /** The linear layers below the head whose effective weight is trained. */
  readonly layers: readonly LinearLayer[];
  /** Every other trained parameter below the head, by kind. */
  readonly parameters: ReadonlyMap<Kind, readonly ParameterSpec[]>;
  /** The parameters of a head that the task adds, which every adapter trains; else empty. */
  readonly head: readonly ParameterSpec[];
}

/**
 * Whether training moves a layer's effective weight: it trains the weight itself, or the adapter
 * targets the layer and trains parameters that it adds.
 */
function isWeightMoved(adapter: Adapter, layer: string): boolean {
  return (
    adapter.trains(`${layer}.weight`) ||
    (adapter.targets.includes(layer) && adapter.parameters.some(({ name }) => adapter.trains(name)))
  );
}

/** Returns the kind of a parameter that is not a layer's weight, from its shape and its name. */
function parameterKind({ name, shape }: ParameterSpec, network: ModelWeights): Kind {
  if (shape.length > 1) return 'embeddings';
  const module = name.replace(/\.[^.]*$/, '');
  if (network.linears.some((layer) => layer.name === module)) return 'biases';
  const scale = network.parameters.find((spec) => spec.name === `${module}.weight`);
  if (scale?.shape.length === 1) return 'norms';
  return name.endsWith('.bias') ? 'biases' : 'other';
}

/**
 * Returns what the adapters train. Throws UserFault if the model's adapter adds parameters and
 * names no layer as its target: no effective weight includes them, so M would lack them.
 * @param adapters all that have trained the model since the start: its own and its base's
 */
export function movedBy(network: ModelWeights, adapters: readonly Adapter[]): Moved {
  const { adapter, linears } = network;
  const isHead = (name: string): boolean => within(name, network.architecture.headModules);
  const layers = linears.filter(
    ({ name }) => !isHead(name) && adapters.some((one) => isWeightMoved(one, name)),
  );
  const ofAdapter = new Set(adapter.parameters.map(({ name }) => name)),
    weights = new Set(linears.map(({ name }) => `${name}.weight`));
  const hidden = adapter.parameters.find(({ name }) => adapter.trains(name));
  if (hidden !== undefined && !layers.some(({ name }) => adapter.targets.includes(name)))
    throw new UserFault(
      `the adapter trains "${hidden.name}", a parameter of its own, and names no layer whose ` +
        'weight it changes: M cannot see it',
      "Name the layers as the adapter's `targets`.",
    );
  const parameters = new Map<Kind, readonly ParameterSpec[]>();
  for (const spec of network.parameters) {
    const { name } = spec;
    if (ofAdapter.has(name) || weights.has(name) || isHead(name)) continue;
    if (!adapters.some((one) => one.trains(name))) continue;
    const kind = parameterKind(spec, network);
    parameters.set(kind, [...(parameters.get(kind) ?? []), spec]);
  }
  return { layers, parameters, head: network.parameters.filter(({ name }) => isHead(name)) };
}

/**
 * How far the poisoned run's change of a weight, ΔW̃, is from the clean run's, ΔW (docs/theory.md,
 * How far poison carries the weights). Both runs have the same seed, start and order.
 */
export interface Distance {
  /** The largest |ΔW − ΔW̃| over entries. */
  readonly largest: number;
  /** ‖ΔW − ΔW̃‖_F */
  readonly l2: number;
  /** ‖ΔW‖_F of the clean run. */
  readonly clean_change: number;
  /** l2 / clean_change; null where the clean run did not move. */
  readonly relative: number | null;
}

interface Sums {
  readonly largest: number;
  readonly squares: number; // Σ (ΔW − ΔW̃)²
  readonly clean: number; // Σ ΔW²
}

const NOTHING: Sums = { largest: 0, squares: 0, clean: 0 };

/**
 * Returns the sums of one matrix or vector. Differences of float32 values are exact in double
 * precision.
 * @param clean the changes that the clean training made or, with `start`, the values after it
 * @param poisoned the changes or values of the poisoned training, likewise
 */
export function sumsOf(
  clean: ArrayLike<number>,
  poisoned: ArrayLike<number>,
  start?: ArrayLike<number>,
): Sums {
  if (clean.length !== poisoned.length || clean.length !== (start ?? clean).length)
    throw new RangeError(
      `${clean.length} values against ${poisoned.length}${start ? `, from ${start.length}` : ''}`,
    );
  let largest = 0,
    squares = 0,
    cleanSquares = 0;
  for (let i = 0; i < clean.length; i++) {
    const difference = clean[i]! - poisoned[i]!;
    largest = Math.max(largest, Math.abs(difference));
    squares += difference ** 2;
    cleanSquares += (clean[i]! - (start === undefined ? 0 : start[i]!)) ** 2;
  }
  return { largest, squares, clean: cleanSquares };
}

export const pooledSums = (parts: readonly Sums[]): Sums =>
  parts.reduce(
    (a, b) => ({
      largest: Math.max(a.largest, b.largest),
      squares: a.squares + b.squares,
      clean: a.clean + b.clean,
    }),
    NOTHING,
  );

/** Returns the distance that the sums give. `relative` is null where the clean run did not move. */
export function distanceOf({ largest, squares, clean }: Sums): Distance {
  const l2 = Math.sqrt(squares),
    change = Math.sqrt(clean);
  return { largest, l2, clean_change: change, relative: change === 0 ? null : l2 / change };
}

/**
 * Returns E_t: the mean of each number over checkpoints. `relative` is null if it is null at any
 * checkpoint.
 */
export function meanDistance(distances: readonly Distance[]): Distance {
  const mean = (get: (one: Distance) => number): number =>
    distances.reduce((sum, one) => sum + get(one), 0) / distances.length;
  return {
    largest: mean(({ largest }) => largest),
    l2: mean(({ l2 }) => l2),
    clean_change: mean(({ clean_change: change }) => change),
    relative: distances.some(({ relative }) => relative === null)
      ? null
      : mean(({ relative }) => relative!),
  };
}
