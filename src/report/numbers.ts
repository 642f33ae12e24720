/** A number with its spread, for every output. */
import type { SpreadName, Statistic } from '../api/report.ts';
import { summarise, type Summary } from '../base/stats.ts';
import {
  bothValues,
  digitsToTell,
  fixed,
  formatNumber,
  type NumberKind,
  shareText,
  withMinusSign,
} from './format.ts';

/**
 * Writes a number in plain characters, for terminals and LaTeX: whole numbers in full, others from
 * 1,000 without decimals, the rest to four digits.
 * @param more how many digits to write beyond the usual ones
 */
export function plainValue(value: number, more = 0): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  if (Math.abs(value) >= 1000 && Math.abs(value) < 1e15) return fixed(value, more);
  return String(Number(value.toPrecision(4 + more)));
}

export type Spread = Exclude<SpreadName, 'none'>;

/** A statistic of n values, with the two ends of its spread (null if it has no spread). */
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
  if (std === 0) return { n, centre, low: centre, high: centre };
  if (spread === 'range' || statistic !== 'mean' || (spread === 'interval' && n === 2))
    return { n, centre, low: min, high: max };
  return spread === 'std'
    ? { n, centre, low: mean - std, high: mean + std }
    : { n, centre, low, high };
}

/**
 * Writes a number with its spread: `0.950 ± 0.064`; both values of two seeds, `0.950 (0.920,
 * 0.980)`; a range `0.950 (0.94–0.96)`. The number stands alone if there is no spread, or if the
 * values differ by no more than rounding: an interval of no width would promise the same value for
 * any other seed. Proportions have three decimals, the ends of a range two. Other numbers with ±
 * have as many decimals as the number after ± has at two significant digits, if that is at most 8
 * and the number before ± is neither tiny nor huge. Ends have as many more decimals as tell them
 * apart.
 * @param write writes a number alone, with so many digits more than usual
 */
function spreadText(
  { n, centre, low, high }: CentreAndSpread,
  spread: Spread,
  isProportion: boolean,
  write: (value: number, more: number) => string,
): string {
  if (low === null || high === null || low === high) return write(centre, 0);
  if (spread === 'range' || (spread === 'interval' && n === 2)) {
    const fewer = spread === 'range' && isProportion ? 1 : 0,
      more = digitsToTell(low, high, (value, digits) => write(value, digits - fewer)) - fewer;
    const ends = [low, high].map((value) => write(value, more));
    if (ends[0] === ends[1]) return write(centre, 0); // differences that are 0 but for rounding
    return `${write(centre, Math.max(0, more))} (${ends.join(spread === 'range' ? '–' : ', ')})`;
  }
  const half = high - centre;
  if (isProportion) return `${write(centre, 0)} ± ${half < 0.0005 ? '<0.001' : fixed(half, 3)}`;
  const place = 1 - Math.floor(Math.log10(half)),
    alone = write(centre, 0);
  if (!(place <= 8 && place >= -12) || Math.abs(centre) < 1e-3 || alone.includes('·'))
    return `${alone} ± ${write(half, 0)}`;
  const decimals = Math.max(0, place);
  return `${fixed(centre, decimals)} ± ${fixed(half, decimals)}`;
}

/**
 * Writes a mean with its spread as `spreadText` does, in plain characters.
 * @param values at least one
 */
export const plainSpread = (
  values: readonly number[],
  spread: Spread,
  isProportion = false,
): string =>
  spreadText(centreAndSpread(values, spread), spread, isProportion, (value, more) =>
    isProportion ? shareText(value, 3 + more) : plainValue(value, more),
  );

/** Returns a summary's mean with its interval or, of two seeds, both values. */
function intervalOf(summary: Summary): CentreAndSpread {
  const [low = summary.low, high = summary.high] = bothValues(summary);
  return { n: summary.n, centre: summary.mean, low, high };
}

/** Writes a mean with its interval as `spreadText` does, for the page of a report. */
export const formatSummary = (summary: Summary, kind: NumberKind = 'plain'): string =>
  withMinusSign(
    spreadText(intervalOf(summary), 'interval', kind === 'proportion', (value, more) =>
      formatNumber(value, kind, more),
    ),
  );

/**
 * Writes a difference with its interval as `spreadText` does, with a plus sign if the mean is above
 * 0, unless it is written as 0.
 */
export function plainDifference(summary: Summary, isProportion = false): string {
  const text = spreadText(intervalOf(summary), 'interval', isProportion, (value, more) =>
    isProportion ? fixed(value, 3 + more) : plainValue(value, more),
  );
  return summary.mean > 0 && /^[^\u00b1(]*[1-9]/.test(text) ? `+${text}` : text;
}

/** Writes two numbers that differ, `0.920, 0.980`, with as many digits as tell them apart. */
export function plainPair(low: number, high: number): string {
  const more = digitsToTell(low, high, plainValue);
  return `${plainValue(low, more)}, ${plainValue(high, more)}`;
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
