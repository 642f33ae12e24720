/** Numbers in plain characters, for terminals and LaTeX. */
import type { SpreadName, Statistic } from '../api/report.ts';
import { bothValues } from '../base/both-values.ts';
import { summarise, type Summary } from '../base/stats.ts';
import { fixed } from './format.ts';

/** Writes whole numbers in full, others from 1,000 without decimals, the rest to four digits. */
export function plainValue(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  if (Math.abs(value) >= 1000 && Math.abs(value) < 1e15) return fixed(value, 0);
  return String(Number(value.toPrecision(4)));
}

export type Spread = Exclude<SpreadName, 'none'>;

/** A statistic of n values, with the two ends of its spread; these are null if it has no spread. */
export interface CentreAndSpread {
  readonly n: number;
  readonly centre: number;
  readonly low: number | null;
  readonly high: number | null;
}

/**
 * Returns a statistic with its spread: `interval` is the mean's 95% t interval, or both values if
 * there are two; `std` is the mean ± the sample standard deviation; `range` runs from the least to
 * the largest value, and takes the place of the other two for statistics other than the mean. With
 * `none`, or with one value, there is no spread.
 * @param values at least one
 */
export function centreAndSpread(
  values: readonly number[],
  spread: SpreadName,
  statistic: Statistic = 'mean',
): CentreAndSpread {
  const { n, mean, std, low, high } = summarise(values);
  const sorted = [...values].sort((a, b) => a - b),
    at = (place: number): number => sorted[place] ?? NaN;
  const min = at(0),
    max = at(n - 1);
  const median = (at(Math.floor((n - 1) / 2)) + at(Math.floor(n / 2))) / 2;
  const centre = { mean, median, min, max }[statistic];
  if (std === null || spread === 'none') return { n, centre, low: null, high: null };
  if (spread === 'range' || statistic !== 'mean' || (spread === 'interval' && n === 2))
    return { n, centre, low: min, high: max };
  return spread === 'std'
    ? { n, centre, low: mean - std, high: mean + std }
    : { n, centre, low, high };
}

/**
 * Writes a mean with its spread, `0.950 ± 0.064` or, for a range, `0.950 (0.94–0.96)`. The mean
 * stands alone if the values, or the ends of the range as they would be written, are equal.
 * @param values at least one
 * @param proportion whether to write three decimals, but two for the ends of a range
 */
export function plainSpread(values: readonly number[], spread: Spread, proportion = false): string {
  if (spread === 'interval') return plainSummary(summarise(values), proportion);
  const { centre, low, high } = centreAndSpread(values, spread);
  const write = (value: number, places: number): string =>
    proportion ? fixed(value, places) : plainValue(value);
  const text = write(centre, 3);
  if (low === null || high === null) return text;
  if (spread === 'std') return high === centre ? text : `${text} ± ${write(high - centre, 3)}`;
  const [least, most] = [write(low, 2), write(high, 2)];
  return least === most ? text : `${text} (${least}–${most})`;
}

/**
 * Says what stands beside the means of a table.
 * @param counts how many seeds are behind each number
 */
export function spreadNote(counts: readonly number[], spread: Spread): string {
  const most = Math.max(1, ...counts);
  if (most < 2) return 'One seed: no interval.';
  const mean = `Mean over the seeds (at most ${most})`,
    alone = 'alone where all are equal.';
  switch (spread) {
    case 'std':
      return `${mean} ± the sample standard deviation (n − 1), ${alone}`;
    case 'range':
      return `${mean}, with the least and the largest value where they differ.`;
    case 'interval': {
      const sentences = [
        ...(most > 2 ? [`${mean} ± half of its 95% Student t interval, ${alone}`] : []),
        ...(counts.includes(2) ? ['Mean of two seeds, with both values where they differ.'] : []),
      ];
      return sentences.join(' ');
    }
  }
}

/**
 * Writes a mean and half the width of its 95% interval, `0.950 ± 0.064`, or both values of two
 * seeds, `0.950 (0.920, 0.980)`. The mean of equal values, or of one, is written alone, because an
 * interval of no width would promise the same value for any other seed.
 * @param proportion whether to write three decimals
 */
export function plainSummary(summary: Summary, proportion = false): string {
  const { mean, std, low, high } = summary;
  if (std === null || std === 0 || low === null || high === null)
    return proportion ? fixed(mean, 3) : plainValue(mean);
  const values = bothValues(summary);
  const both = values === null ? null : bothText(mean, values, proportion);
  if (both !== null) return both;
  const half = (high - low) / 2;
  if (proportion) return `${fixed(mean, 3)} ± ${half < 0.0005 ? '<0.001' : fixed(half, 3)}`;
  // Two digits of the half-width are written, and the mean to the same decimal place.
  const place = 1 - Math.floor(Math.log10(half));
  if (place > 12 || place < -12 || Math.abs(mean) < 1e-3)
    return `${plainValue(mean)} ± ${Number(half.toPrecision(2))}`;
  const decimals = Math.max(0, place);
  return `${fixed(mean, decimals)} ± ${fixed(half, decimals)}`;
}

/**
 * Writes a mean with both values, `0.950 (0.920, 0.980)`; null if the two values would be written
 * alike. Proportions have three decimals. Other numbers have as many decimals as two significant
 * digits of half the distance between the values.
 */
function bothText(
  mean: number,
  [low, high]: readonly [number, number],
  proportion: boolean,
): string | null {
  const place = 1 - Math.floor(Math.log10((high - low) / 2));
  const write = (value: number): string => {
    if (proportion) return fixed(value, 3);
    return place > 12 || place < 0 ? plainValue(value) : String(Number(fixed(value, place)));
  };
  return write(low) === write(high) ? null : `${write(mean)} (${write(low)}, ${write(high)})`;
}

/**
 * Writes a difference as `plainSummary` does, with a plus sign if the mean is above 0, unless it is
 * written as 0.
 */
export function plainDifference(summary: Summary, proportion = false): string {
  const text = plainSummary(summary, proportion);
  return summary.mean > 0 && /^[^\u00b1(]*[1-9]/.test(text) ? `+${text}` : text;
}
