/**
 * The distance between trainings with a common start, in everything that they train: effective
 * weights layer by layer, the other parameters by kind, the head separately.
 */
import { layerChange } from '../../../src/science/measures/weights/effective.ts';
import type { Network } from '../../../src/science/models/network.ts';
import type { ParameterSpec } from '../../../src/science/models/types.ts';
import {
  type Distance,
  distanceOf,
  meanDistance,
  NOTHING,
  type Sums,
  sumsOf,
  together,
} from './measure.ts';
import { type Kind, KINDS, type Moved } from './moved.ts';

export interface RunDistance {
  /**
   * Effective weights of the layers that training moves, keyed by the checkpoint's own parameter
   * names.
   */
  readonly layers: Readonly<Record<string, Distance>>;
  /**
   * The distance over those layers as one vector, by which LoRA and full fine-tuning are compared.
   * Null for an adapter that trains no layer's weight.
   */
  readonly total: Distance | null;
  /**
   * `layers` and `kinds` as one vector: everything trained below the head. Null where only the head
   * is trained.
   */
  readonly trained: Distance | null;
  /**
   * The trained parameters that are not a layer's weight, by kind; a kind that is not trained is
   * left out.
   */
  readonly kinds: Readonly<Partial<Record<Kind, Distance>>>;
  /**
   * The head that the task adds; null where the head is pretrained (cloze) and so counts with the
   * rest.
   */
  readonly head: Distance | null;
}

export type MeanDistance = Omit<RunDistance, 'layers'>;

/** Running sums for one of the `others`. */
interface Gathered {
  readonly layers: Map<string, Sums>;
  readonly kinds: Map<Kind, Sums>;
  head: Sums;
}

const values = async (network: Network, name: string): Promise<Float32Array> =>
  network.frozen(name).data<'float32'>();

/** Returns the distance over several parts taken as one vector; null where there are none. */
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
 * Returns the distance of each of `others` from `clean`; all have the same start. Holds one tensor
 * of each run on the host at a time.
 * @param moved what the training moves, from `movedBy`
 * @param between awaited between parameters, so that heartbeats and aborts are heard; if it
 *   throws, the comparison ends
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
      add(found[i]!, sumsOf(one, await values(other, name), from));
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

/**
 * E_t: the mean of each part over the checkpoints of one training, which all have the same parts.
 */
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
 * Returns the numbers of a distance under flat names: `total.l2`, `biases.relative`, …
 * @param skip names of numbers to leave out
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
