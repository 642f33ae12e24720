/**
 * How far trainings of one start lie from each other, in everything that they train: effective weights layer by layer,
 * the other parameters by kind, the head apart.
 */
import type { Network } from '../nn/network.ts';
import type { ParameterSpec } from '../nn/types.ts';
import {
  type Distance,
  distanceOf,
  meanDistance,
  NOTHING,
  type Sums,
  sumsBetween,
  sumsOf,
  together,
} from './divergence.ts';
import { layerChange } from './effective.ts';
import { type Kind, KINDS, type Moved } from './moved.ts';

export interface RunDistance {
  /** By the checkpoint's own parameter names: effective weights of the layers that training moves. */
  readonly layers: Readonly<Record<string, Distance>>;
  /** Those layers as one vector: what LoRA and full fine-tuning are compared by. Null for an adapter that trains no layer's weight. */
  readonly total: Distance | null;
  /** `layers` and `kinds` as one vector: everything trained below the head. Null where that is nothing (the head alone). */
  readonly trained: Distance | null;
  /** The trained parameters that are no layer's weight, by kind; a kind that is not trained is left out. */
  readonly kinds: Readonly<Partial<Record<Kind, Distance>>>;
  /** The head that the task brings; null where it is pretrained (cloze), and so part of the rest. */
  readonly head: Distance | null;
}

export type MeanDistance = Omit<RunDistance, 'layers'>;

/** The sums of one other run, as they are gathered. */
interface Gathered {
  readonly layers: Map<string, Sums>;
  readonly kinds: Map<Kind, Sums>;
  head: Sums;
}

const values = async (network: Network, name: string): Promise<Float32Array> =>
  network.frozen(name).data<'float32'>();

/** A part of several; null where there is none. */
const joined = (parts: readonly Sums[]): Distance | null =>
  parts.length === 0 ? null : distanceOf(together(parts));

function finished({ layers, kinds, head }: Gathered, moved: Moved): RunDistance {
  return {
    layers: Object.fromEntries([...layers].map(([name, sums]) => [name, distanceOf(sums)])),
    total: joined([...layers.values()]),
    trained: joined([...layers.values(), ...kinds.values()]),
    kinds: Object.fromEntries(
      KINDS.flatMap((kind) =>
        kinds.has(kind) ? [[kind, distanceOf(kinds.get(kind)!)] as const] : [],
      ),
    ),
    head: moved.head.length === 0 ? null : distanceOf(head),
  };
}

/**
 * The distance of each of `others` from `clean`, all of one start. One tensor of each run is on the host at a time.
 * @param moved of the trained model, as `movedBy` has it
 * @param between awaited between parameters, so that the process can breathe; throwing stops it
 */
export async function compareRuns(
  start: Network,
  clean: Network,
  others: readonly Network[],
  moved: Moved,
  between: () => Promise<void>,
): Promise<RunDistance[]> {
  const found = others.map((): Gathered => ({
    layers: new Map(),
    kinds: new Map(),
    head: NOTHING,
  }));
  for (const layer of moved.layers) {
    const { change } = await layerChange(start, clean, layer);
    for (const [i, other] of others.entries()) {
      const own = await layerChange(start, other, layer);
      found[i]!.layers.set(clean.fileName(`${layer.name}.weight`), sumsOf(change, own.change));
      await between();
    }
  }
  const eachOther = async (
    { name }: ParameterSpec,
    add: (to: Gathered, sums: Sums) => void,
  ): Promise<void> => {
    const [from, one] = [await values(start, name), await values(clean, name)];
    for (const [i, other] of others.entries())
      add(found[i]!, sumsBetween(from, one, await values(other, name)));
    await between();
  };
  for (const [kind, specs] of moved.parameters) {
    for (const spec of specs)
      await eachOther(spec, ({ kinds }, sums) => {
        kinds.set(kind, together([kinds.get(kind) ?? NOTHING, sums]));
      });
  }
  for (const spec of moved.head)
    await eachOther(spec, (to, sums) => {
      to.head = together([to.head, sums]);
    });
  return found.map((one) => finished(one, moved));
}

/** E_t: each part's mean over checkpoints; all of one training, so that they have the same parts. */
export function meanOver(points: readonly MeanDistance[]): MeanDistance {
  const mean = (get: (point: MeanDistance) => Distance | null | undefined): Distance | null => {
    const parts = points.flatMap((point) => get(point) ?? []);
    return parts.length === 0 ? null : meanDistance(parts);
  };
  return {
    total: mean(({ total }) => total),
    trained: mean(({ trained }) => trained),
    kinds: Object.fromEntries(
      KINDS.flatMap((kind) => {
        const own = mean(({ kinds }) => kinds[kind]);
        return own === null ? [] : [[kind, own] as const];
      }),
    ),
    head: mean(({ head }) => head),
  };
}

/**
 * The numbers of a distance under flat names: `total.l2`, `biases.relative`, …
 * @param skip numbers that are left out
 */
export function flatDistances(
  mean: MeanDistance,
  prefix = '',
  skip: readonly (keyof Distance)[] = [],
): Record<string, number> {
  const { kinds, ...parts } = mean;
  return Object.fromEntries(
    Object.entries({ ...parts, ...kinds }).flatMap(([part, distance]) =>
      Object.entries((distance ?? {}) as Record<string, number | null>).flatMap(([name, value]) =>
        value === null || skip.includes(name as keyof Distance)
          ? []
          : [[`${prefix}${part}.${name}`, value] as const],
      ),
    ),
  );
}
