/** Computes differences that are paired by seed, and records what they leave out. */
import { type PairedDifference, pairedDifference } from '../base/stats/summary.ts';
import type { Condition } from './conditions.ts';
import { distinct } from './groups.ts';
import type { ReportCell } from './types.ts';
import type { Verdict } from './verdict.ts';

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
