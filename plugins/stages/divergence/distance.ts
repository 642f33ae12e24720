/** Measures M, and the noise floor that it is compared with, step by step. */
import type { Network } from '../../../src/science/models/network.ts';
import { breathe } from '../shared/breathe.ts';
import { compareRuns, type MeanDistance, meanOver, type RunDistance } from './compare-runs.ts';
import { movedBy } from './moved.ts';
import type { Trainings } from './trainings.ts';

export interface Point extends RunDistance {
  readonly step: number;
  /**
   * The distance between the clean run and its repetition, which differ by rounding alone. Null if
   * it was not measured.
   */
  readonly floor: MeanDistance | null;
}

/** The field `noise_floor` of `divergence.json`. */
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

/**
 * Returns M at one step, and the noise floor if the repeated run's model is available there too.
 */
export function distanceAt(
  step: number,
  start: Network,
  { poisoned, clean, repeated }: Trainings,
  signal: AbortSignal,
): Promise<Point> {
  return clean.at(step, (cleanModel) =>
    poisoned.at(step, async (poisonedModel): Promise<Point> => {
      const moved = movedBy(poisonedModel, [poisonedModel.adapter, start.adapter]);
      const distances = (...others: readonly Network[]) =>
        compareRuns(start, cleanModel, others, moved, () => breathe(signal));
      if (repeated === null || !repeated.steps.includes(step)) {
        const [own] = await distances(poisonedModel);
        return { step, ...given(own), floor: null };
      }
      return repeated.at(step, async (repeatedModel) => {
        const [own, repetition] = await distances(poisonedModel, repeatedModel);
        const { layers: _layers, ...floor } = given(repetition);
        return { step, ...given(own), floor };
      });
    }),
  );
}

/** Asserts that a distance is there: compareRuns returns one for each run that it receives. */
function given(distance: RunDistance | undefined): RunDistance {
  if (distance === undefined) throw new Error('a run was not compared');
  return distance;
}

/** @param reason why the noise floor was not measured, if that is already known */
export function noiseFloorOf(points: readonly Point[], reason: string | undefined): NoiseFloor {
  const floors = points.flatMap(({ floor }) => floor ?? []);
  if (floors.length > 0)
    return {
      measured: true,
      method: FLOOR,
      checkpoints: floors.length,
      mean: meanOver(floors),
    };
  return {
    measured: false,
    method: null,
    reason: reason ?? 'there is no step that the repeated run and both compared runs kept',
  };
}

/**
 * Returns the ratio of M's L2 to the floor's for each part, both summed over the steps that have a
 * floor. A part whose floor is 0 has no ratio.
 */
export function overFloor(points: readonly Point[]): Record<string, number> {
  const ratios: Record<string, number> = {};
  for (const part of ['total', 'trained', 'head'] as const) {
    let own = 0;
    let noise = 0;
    for (const { floor, ...point } of points) {
      if (floor === null) continue;
      own += point[part]?.l2 ?? 0;
      noise += floor[part]?.l2 ?? 0;
    }
    if (noise > 0) ratios[`${part}.over_floor`] = own / noise;
  }
  return ratios;
}
