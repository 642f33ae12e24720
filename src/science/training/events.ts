/** Converts a training's history and curves for TensorBoard. */
import type { ScalarEvent } from '../models/io/tfevents.ts';
import type { Journal } from './journal.ts';
import type { CurvePoint } from './watch.ts';

/**
 * Scalars in two groups of tags: `train/` for the steps, `evaluate/` for the evaluations during
 * training.
 */
export function scalarEvents(
  { history, times }: Journal,
  curves: readonly CurvePoint[],
): ScalarEvent[] {
  const at = (step: number): number => times[Math.max(0, step - 1)] ?? 0;
  return [
    ...history.flatMap(({ step, ...values }) =>
      Object.entries(values).map(([name, value]) => ({
        tag: `train/${name}`,
        step,
        value,
        time: at(step),
      })),
    ),
    ...curves.flatMap(({ step, ...values }) =>
      Object.entries(values).map(([name, value]) => ({
        tag: `evaluate/${name}`,
        step,
        value,
        time: at(step),
      })),
    ),
  ];
}
