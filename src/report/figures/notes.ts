/** What the captions of all figures explain: hollow points, and what there was no room for. */
import type { Condition } from '../conditions.ts';
import { anyOf, voidReason } from '../evidence.ts';
import { plural } from '../format.ts';
import type { MetricNote } from '../metrics.ts';

type Metric = Pick<MetricNote, 'metric'>;

/** @param shown the conditions and the metric that is drawn of each */
export function hollowNote(
  shown: readonly { readonly condition: Condition; readonly metric: Metric }[],
): string {
  const reasons = shown.flatMap(({ condition: { cells }, metric }) =>
    cells.flatMap((cell) => voidReason(cell, metric) ?? []),
  );
  return reasons.length === 0
    ? ''
    : ` Hollow points are not evidence: a model behind them ${anyOf(reasons)}.`;
}

/** Says how many of something a figure had no room for. */
export function leftOut(count: number, noun: string): string {
  if (count <= 0) return '';
  const verb = count === 1 ? 'is' : 'are';
  return ` ${plural(count, `more ${noun}`)} ${verb} left out of this figure.`;
}
