/** Computes differences that are paired by seed, and records what they leave out. */
import { type PairedDifference, pairedDifference } from '../base/stats/summary.ts';
import type { Condition } from './conditions.ts';
import { distinct, groupBy } from './groups.ts';
import { isPValue, type MetricNote } from './metrics.ts';
import { metricName } from './select.ts';
import type { ReportCell } from './types.ts';
import { holm, marginP, type Verdict } from './verdict.ts';

/** a − b over the seeds that have both. */
export interface Pairs {
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly seeds: readonly number[];
  /** How many seeds lack one of the two numbers. */
  readonly incomplete: number;
  /** How many seeds have both numbers but are not evidence (evidence.ts); they are not used. */
  readonly excluded: number;
  /** The reasons why pairs are not evidence, each once. */
  readonly reasons: readonly string[];
  /** Null if no pair is left. */
  readonly difference: PairedDifference | null;
}

export interface Comparison extends Pairs {
  readonly margin: number;
  /** Null if the paper makes no claim. */
  readonly verdict: Verdict | null;
}

const isNumber = (value: number | null): value is number =>
  value !== null && Number.isFinite(value);

/**
 * Pairs two numbers over seeds.
 * @param reason returns why the pair of a seed is not evidence, or null if it is
 */
export function pairBySeed(
  seeds: readonly number[],
  a: (seed: number) => number | null,
  b: (seed: number) => number | null,
  reason: (seed: number) => string | null,
): Pairs {
  const complete = seeds.flatMap((seed) => {
    const x = a(seed),
      y = b(seed);
    return isNumber(x) && isNumber(y) ? [{ seed, x, y, reason: reason(seed) }] : [];
  });
  const used = complete.filter((pair) => pair.reason === null);
  const xs = used.map(({ x }) => x),
    ys = used.map(({ y }) => y);
  return {
    a: xs,
    b: ys,
    seeds: used.map(({ seed }) => seed),
    incomplete: seeds.length - complete.length,
    excluded: complete.length - used.length,
    reasons: distinct(complete.map((pair) => pair.reason).filter((text) => text !== null)),
    difference: used.length === 0 ? null : pairedDifference(xs, ys),
  };
}

export const cellsBySeed = (condition: Condition): ReadonlyMap<number, ReportCell> =>
  new Map(condition.cells.map((cell) => [cell.seed, cell]));

/**
 * What is measured of a whole pack: a training has a share of its time, and its memory is the
 * process's.
 */
const OF_PACK = new Set(['seconds', 'examples_per_second', 'tokens_per_second', 'peak_memory_mb']);

/** Whether a number of a stage is of trainings that ran in one pack and were measured together. */
export const isOfPack = (
  metric: string,
  stage: { readonly [metric: string]: number } | undefined,
): boolean => OF_PACK.has(metric) && (stage?.['packed'] ?? 1) > 1;

type Metric = Pick<MetricNote, 'stage' | 'metric'>;

/**
 * Returns the p-value of no difference (`marginP`), not corrected. Null for fewer than three pairs,
 * of a p-value, and where a pair was measured in a pack, so that the seeds are not independent.
 */
export const differenceP = (
  metric: Metric,
  paired: PairedDifference | null,
  ofPack: boolean,
): number | null =>
  paired === null || paired.n < 3 || ofPack || isPValue(metric) ? null : marginP(paired, 0);

/**
 * Returns p-values corrected by Holm's method, in order: those of one metric are a family. A
 * comparison without a p-value is in none.
 */
export function holmByMetric(
  compared: readonly (Metric & { readonly p: number | null })[],
): readonly (number | null)[] {
  const corrected: (number | null)[] = compared.map(() => null);
  const tested = compared.flatMap(({ stage, metric, p }, index) =>
    p === null ? [] : [{ name: metricName({ stage, metric }), p, index }],
  );
  for (const family of groupBy(tested, ({ name }) => name).values())
    holm(family.map(({ p }) => p)).forEach((p, i) => {
      const { index } = family[i] ?? {};
      if (index !== undefined) corrected[index] = p;
    });
  return corrected;
}
