/**
 * The verdict rule (docs/theory.md, Verdicts): a claim is held or refuted if the Holm-corrected
 * paired 95% interval over at least five seeds excludes zero by the declared margin, and otherwise
 * undecided. Holm's method corrects over all comparisons that one claim makes.
 */
import tQuantile from '@stdlib/stats-base-dists-t-quantile';
import { type PairedDifference, pairedDifference, SIGNIFICANCE } from '../base/stats.ts';
import { formatNumber, plural } from './format.ts';

export const SEEDS_NEEDED = 5;

export interface Verdict {
  readonly state: 'held' | 'refuted' | 'undecided';
  readonly reason: string;
  /**
   * The interval that was judged, corrected for the number of comparisons; null if there are too
   * few seeds, or if all differences are equal.
   */
  readonly interval: { readonly low: number; readonly high: number; readonly level: number } | null;
}

/** Two quantities, paired by seed, and the margin by which |mean of a − b| must exceed 0. */
export interface PairedSample {
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly margin: number;
}

/**
 * Returns the two-sided p-value of the hypothesis |mean| ≤ margin: the p at which Student's
 * 1 − p interval just touches the margin. If all n differences are equal, their spread is unknown;
 * p is then that of the exact sign test of n like signs, 2·2⁻ⁿ, instead of Student's 0.
 */
export function marginP(difference: PairedDifference, margin: number): number {
  if (difference.std === null) return 1;
  const beyond = Math.abs(difference.mean) - margin;
  if (!(beyond > 0)) return 1; // NaN too: it decides nothing
  if (difference.std === 0) return 2 ** (1 - difference.n);
  const t = beyond / (difference.std / Math.sqrt(difference.n));
  let low = 0,
    high = 1; // bisection for p: the quantile of 1 − p/2 falls as p rises
  for (let i = 0; i < 60; i++) {
    const p = (low + high) / 2;
    if (tQuantile(1 - p / 2, difference.n - 1) > t) low = p;
    else high = p;
  }
  return (low + high) / 2;
}

/**
 * Returns p-values corrected for their number by Holm's method (1979), in the given order: the k-th
 * smallest of m becomes p·(m − k + 1), or the corrected value before it if that is larger.
 */
export function holm(ps: readonly number[]): number[] {
  const corrected = [...ps];
  let least = 0;
  ps.map((p, index) => ({ p, index }))
    .sort((x, y) => x.p - y.p)
    .forEach(({ p, index }, k) => {
      least = Math.max(least, Math.min(1, (ps.length - k) * p));
      corrected[index] = least;
    });
  return corrected;
}

/**
 * Returns one verdict for each sample, in order. By Holm's method the k-th smallest of m p-values
 * is judged at level 1 − 0.05/(m − k + 1); from the first undecided one on, all are. Samples of
 * fewer than SEEDS_NEEDED seeds are undecided, and do not count towards m.
 * @param direction the claimed sign of a − b
 */
export function judge(samples: readonly PairedSample[], direction: 1 | -1): readonly Verdict[] {
  const tested = samples
    .flatMap(({ a, b, margin }, index) =>
      a.length < SEEDS_NEEDED ? [] : [{ index, a, b, p: marginP(pairedDifference(a, b), margin) }],
    )
    .sort((x, y) => x.p - y.p);
  const verdicts = samples.map(({ a }): Verdict => ({
    state: 'undecided',
    interval: null,
    reason: `n = ${plural(a.length, 'seed')}; verdict needs ≥ ${SEEDS_NEEDED}`,
  }));
  const corrected = holm(tested.map(({ p }) => p));
  tested.forEach(({ index, a, b, p }, k) => {
    const alpha = SIGNIFICANCE / (tested.length - k);
    const { n, mean, std, low, high } = pairedDifference(a, b, 1 - alpha);
    const equal = std === 0,
      interval = equal || low === null || high === null ? null : { low, high, level: 1 - alpha },
      decided = Math.sign(mean) === direction ? 'held' : 'refuted';
    if ((corrected[k] ?? 1) < SIGNIFICANCE)
      verdicts[index] = { state: decided, interval, reason: 'zero is excluded by the margin' };
    else {
      const reason =
        equal && p < 1
          ? `all ${n} seeds differ by the same amount, so no spread can be estimated; ` +
            `sign test: p = ${formatNumber(p, 'proportion')}`
          : 'zero is not excluded by the margin';
      verdicts[index] = { state: 'undecided', interval, reason };
    }
  });
  return verdicts;
}

/**
 * Returns one verdict for each sample and the one beside it in `others`: held or refuted if `judge`
 * says so of both, and otherwise undecided. As this is an intersection–union test, neither needs a
 * further correction.
 */
export function judgeBoth(
  samples: readonly PairedSample[],
  others: readonly PairedSample[],
  direction: 1 | -1,
): readonly Verdict[] {
  const second = judge(others, direction);
  return judge(samples, direction).map((verdict, i) =>
    verdict.state === 'undecided' || verdict.state === second[i]?.state
      ? verdict
      : {
          ...verdict,
          state: 'undecided',
          reason: 'the same is not shown for what the trigger adds to the untriggered rate',
        },
  );
}

/**
 * Returns one verdict for each sample, on the claim that a = b. Held: the 95% interval of the
 * difference, by Bonferroni's correction over all samples with SEEDS_NEEDED seeds, lies within
 * ±margin. Refuted: `judge` finds a difference of either sign. Otherwise undecided; so are samples
 * with fewer seeds, and samples whose differences are all equal unless `judge` finds a difference.
 */
export function judgeEqual(samples: readonly PairedSample[]): readonly Verdict[] {
  const differing = judge(samples, 1),
    tested = samples.filter(({ a }) => a.length >= SEEDS_NEEDED).length;
  return samples.map(({ a, b, margin }, i): Verdict => {
    const verdict = differing[i]!; // one for each sample
    if (a.length < SEEDS_NEEDED) return verdict;
    if (verdict.state !== 'undecided') return { ...verdict, state: 'refuted' };
    const level = 1 - SIGNIFICANCE / tested,
      { low, high, std } = pairedDifference(a, b, level);
    if (low === null || high === null || std === 0) return verdict;
    const within = low >= -margin && high <= margin;
    return {
      state: within ? 'held' : 'undecided',
      interval: { low, high, level },
      reason: `the interval lies ${within ? '' : 'neither beyond zero nor '}within the margin`,
    };
  });
}

const MOST_SEEDS = 1000;

/**
 * Returns the fewest seeds that would decide a claim if mean and standard deviation stayed as they
 * are. Half of the interval at `level` must be at most |mean| − margin or, for a claim of no effect
 * (`isOfNone`), ||mean| − margin|. Null if that takes more than a thousand seeds, or if the spread
 * is unknown.
 */
export function seedsToDecide(
  { mean, std }: Pick<PairedDifference, 'mean' | 'std'>,
  margin: number,
  level: number,
  isOfNone = false,
): number | null {
  const beyond = Math.abs(mean) - margin,
    room = isOfNone ? Math.abs(beyond) : beyond;
  if (std === null || std === 0 || room <= 0) return null;
  for (let n = SEEDS_NEEDED; n <= MOST_SEEDS; n++)
    if ((tQuantile((1 + level) / 2, n - 1) * std) / Math.sqrt(n) <= room) return n;
  return null;
}

/** Returns `held`, `refuted` or `undecided (n = 2 seeds; verdict needs ≥ 5)`. */
export const verdictText = (verdict: Verdict): string =>
  verdict.state === 'undecided' ? `undecided (${verdict.reason})` : verdict.state;

/** The margin of accuracies and rates, one percentage point. */
export const PROPORTION_MARGIN = 0.01;
/** The margin of information bits and entropies, as a share of the full kernel's value. */
export const RELATIVE_MARGIN = 0.01;
/** The margin of rank correlations, which lie in [−1, 1]. */
export const CORRELATION_MARGIN = 0.1;
