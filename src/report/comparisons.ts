/** Compares adapters, ends of axes and kernels, paired by seed, and judges the paper's claims. */
import { type PairedDifference, pairedDifference } from '../base/stats.ts';
import { byName, cellAt, type Condition, isFull, type Quantity, scoreOf } from './conditions.ts';
import { voidReason } from './evidence.ts';
import {
  checkpointsOf,
  entropiesOf,
  fisherOf,
  type FisherQuantity,
  INFORMATION,
  withLora,
} from './fisher.ts';
import { contentKey, distinct, groupBy, nearest, settingKey, trainingDistance } from './groups.ts';
import { ACCURACY, ASR, ASR_ADDED, COMPARED, DROP, type MetricNote } from './metrics.ts';
import type { Checkpoint, Parametrisation, ReportCell } from './types.ts';
import {
  judge,
  judgeBoth,
  judgeEqual,
  type PairedSample,
  PROPORTION_MARGIN,
  RELATIVE_MARGIN,
  type Verdict,
} from './verdict.ts';

/** Two numbers, paired by seed, `a[i]` with `b[i]` at `seeds[i]`, and their difference a − b. */
export interface Comparison {
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly seeds: readonly number[];
  /** How many seeds lack at least one of the two numbers. */
  readonly incomplete: number;
  /** How many seeds have both numbers but are not evidence (evidence.ts); they are not used. */
  readonly excluded: number;
  /** Why pairs are excluded, each reason once. */
  readonly reasons: readonly string[];
  /** Null if no pair is left. */
  readonly difference: PairedDifference | null;
  readonly margin: number;
  /** Null if the paper makes no claim about the comparison. */
  readonly verdict: Verdict | null;
}

export const isNumber = (value: number | null): value is number =>
  value !== null && Number.isFinite(value);

/**
 * Pairs two numbers over seeds.
 * @param a returns the first number at a seed; null if there is none. Likewise `b`
 * @param reason returns why the pair of a seed is not evidence; null if it is
 */
function pairBySeed(
  seeds: readonly number[],
  a: (seed: number) => number | null,
  b: (seed: number) => number | null,
  reason: (seed: number) => string | null,
): Omit<Comparison, 'margin' | 'verdict'> {
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

export interface AdapterComparison extends Comparison {
  readonly metric: MetricNote;
  readonly adapter: Condition;
  readonly full: Condition;
}

/** Returns the sign that the paper claims for adapter − full; null without a claim. */
function claimedSign(metric: MetricNote, condition: Condition): 1 | -1 | null {
  if (condition.unclaimed !== null || condition.adapter !== 'lora') return null;
  if (metric === ASR && condition.family === 'backdoor') return -1;
  if (metric === DROP && condition.family === 'untargeted') return 1;
  return null;
}

/**
 * Pairs each condition that is not full fine-tuning with the full fine-tuning of the same attack
 * and setting that differs from it in the fewest axes of training; with several, if they differ in
 * equally few; with none, if there is none of that attack and setting.
 */
export function adapterPairs(
  conditions: readonly Condition[],
): readonly { readonly adapter: Condition; readonly full: Condition }[] {
  const fulls = groupBy(conditions.filter(isFull), ({ axes }) => settingKey(axes));
  return conditions
    .filter((condition) => !isFull(condition))
    .flatMap((adapter) => {
      const block = fulls.get(settingKey(adapter.axes)) ?? [];
      return nearest(block, (full) => trainingDistance(full.axes, adapter.axes)).map((full) => ({
        adapter,
        full,
      }));
    });
}

/** Returns a function that reads a condition's number at a seed; null if it has none. */
const readBySeed =
  (condition: Condition, quantity: Quantity) =>
  (seed: number): number | null => {
    const cell = cellAt(condition, seed);
    return cell ? quantity(cell) : null;
  };

/** Returns the metric that is compared: the given one, or the same metric on test rows. */
type ChooseRows = (metric: MetricNote) => MetricNote;
const onValidation: ChooseRows = (metric) => metric;

/**
 * Compares two conditions by a metric, not yet with a verdict. Which seeds are evidence is decided
 * by validation rows, even if `onRows` has the numbers of test rows compared. `adapter` and `full`
 * may also be two ends of an axis.
 */
function compareScores(
  metric: MetricNote,
  adapter: Condition,
  full: Condition,
  onRows = onValidation,
): AdapterComparison {
  const sides = [adapter, full];
  const seeds = distinct(sides.flatMap(({ cells }) => cells.map(({ seed }) => seed))).sort(
    (x, y) => x - y,
  );
  // Returns why the pair at a seed is not evidence; null if it is.
  const reason = (seed: number): string | null => {
    for (const side of sides) {
      const cell = cellAt(side, seed);
      const found = cell ? voidReason(cell, metric) : null;
      if (found !== null) return `${side.adapterLabel} ${found}`;
    }
    return null;
  };
  const quantity = scoreOf(onRows(metric));
  return {
    metric,
    adapter,
    full,
    margin: PROPORTION_MARGIN,
    verdict: null,
    ...pairBySeed(seeds, readBySeed(adapter, quantity), readBySeed(full, quantity), reason),
  };
}

/**
 * Returns what the trigger adds to each model's rate of the target, paired by seed. If no model has
 * this number, returns the ASRs themselves; if only some have it, returns no pairs.
 */
function addedByTrigger(
  { adapter, full, seeds, a, b, margin }: AdapterComparison,
  onRows = onValidation,
): PairedSample {
  // Returns what the trigger adds at each of the pairs' seeds that has the number.
  const readAdded = (condition: Condition): number[] => {
    const read = readBySeed(condition, scoreOf(onRows(ASR_ADDED)));
    return seeds.flatMap((seed) => read(seed) ?? []);
  };
  const ofAdapter = readAdded(adapter),
    ofFull = readAdded(full);
  if (ofAdapter.length === 0 && ofFull.length === 0) return { a, b, margin };
  return ofAdapter.length === seeds.length && ofFull.length === seeds.length
    ? { a: ofAdapter, b: ofFull, margin }
    : { a: [], b: [], margin };
}

/**
 * Judges comparisons of a metric, one verdict each. A comparison of ASR is held or refuted only if
 * the same holds for what the trigger adds to each model's rate of the target. Otherwise a model
 * that gives most rows the target class anyway would count as successfully attacked.
 */
const judgeScores = (
  metric: MetricNote,
  compared: readonly AdapterComparison[],
  direction: 1 | -1,
  onRows = onValidation,
): readonly Verdict[] =>
  metric === ASR
    ? judgeBoth(
        compared,
        compared.map((one) => addedByTrigger(one, onRows)),
        direction,
      )
    : judge(compared, direction);

/**
 * Compares the pairs of `adapterPairs` by each metric of `COMPARED` that they have. Verdicts are
 * only on comparisons about which the paper makes a claim.
 */
export function compareAdapters(
  conditions: readonly Condition[],
  onRows = onValidation,
): readonly AdapterComparison[] {
  const pairs = adapterPairs(conditions);
  return COMPARED.flatMap((metric) => {
    const found = pairs
      .map(({ adapter, full }) => compareScores(metric, adapter, full, onRows))
      .filter(({ difference, excluded }) => difference !== null || excluded > 0);
    const verdicts = new Map<AdapterComparison, Verdict | undefined>();
    for (const direction of [1, -1] as const) {
      // In an envelope, the worst attacks of two adapters may differ. The paper makes no claim
      // about such a pair.
      const claimed = found.filter(
        ({ adapter, full }) =>
          claimedSign(metric, adapter) === direction && adapter.attack === full.attack,
      );
      const judged = judgeScores(metric, claimed, direction, onRows);
      for (const [i, comparison] of claimed.entries()) verdicts.set(comparison, judged[i]);
    }
    return found.map((comparison) => ({
      ...comparison,
      verdict: verdicts.get(comparison) ?? null,
    }));
  });
}

/**
 * Compares a metric at the two ends of a numeric axis of LoRA (`most` − `least`), among attacked
 * conditions that differ in nothing else.
 * @param at returns a condition's place on the axis; null if it has none
 * @param path the axis, whose values may write one place in several ways (1/d, and as a number)
 * @param others axes that may change along with `path`; one that has several values at a place must
 *   be equal at both ends instead
 * @param claimed the claimed sign of the difference; 0 if the claim is that there is none
 */
export function compareEnds(
  conditions: readonly Condition[],
  { family, metric, at, path, others = [], claimed: sign }: EndsQuestion,
) {
  const placed = byName(conditions).filter(
    (one) =>
      one.adapter === 'lora' && one.family === family && one.unclaimed === null && at(one) !== null,
  );
  // Whether an axis has a single value at each place on `path`, as α does if α = r for every rank.
  // With several α at a rank, α does not, and ranks are compared at equal α.
  const follows = (other: string): boolean =>
    [...groupBy(placed, (one) => String(at(one))).values()].every(
      (alike) => distinct(alike.map(({ axes }) => contentKey([axes[other] ?? null]))).length === 1,
    );
  const moving = [path, ...others.filter(follows)];
  const keyWithoutMoving = ({ axes }: Condition): string =>
    contentKey(Object.fromEntries(Object.entries(axes).filter(([path]) => !moving.includes(path))));
  const seen = new Set<string>();
  const found = [...groupBy(placed, keyWithoutMoving).values()].flatMap((along) => {
    // If several conditions lie at an end (σ² = 1/d, and the same value as a number), the first one
    // is compared.
    const [least] = along.toSorted((a, b) => (at(a) ?? 0) - (at(b) ?? 0)),
      [most] = along.toSorted((a, b) => (at(b) ?? 0) - (at(a) ?? 0));
    if (least === undefined || most === undefined || at(least) === at(most)) return [];
    const pair = contentKey([most.key, least.key]);
    if (seen.has(pair)) return []; // the same pair under another name
    seen.add(pair);
    return [{ most, least, ...compareScores(metric, most, least) }];
  });
  const verdicts = sign === 0 ? judgeEqual(found) : judgeScores(metric, found, sign);
  return found.map((comparison, i) => ({ ...comparison, verdict: verdicts[i] ?? null }));
}

export interface EndsQuestion {
  readonly family: ReportCell['family'];
  readonly metric: MetricNote;
  readonly at: (condition: Condition) => number | null;
  readonly path: string;
  readonly others?: readonly string[];
  readonly claimed: 1 | -1 | 0;
}

export interface KernelComparison extends Comparison {
  readonly quantity: FisherQuantity;
  readonly checkpoint: Checkpoint;
  readonly condition: Condition;
}

/**
 * Compares a quantity of the adapter's kernel with that of the full kernel, at one checkpoint.
 * After initialisation, seeds at which the model predicts one class only are excluded.
 */
function compareKernel(
  quantity: FisherQuantity,
  checkpoint: Checkpoint,
  condition: Condition,
): KernelComparison {
  const read = (of: Parametrisation) => readBySeed(condition, fisherOf(quantity, checkpoint, of));
  // Returns why the pair at a seed is not evidence; null if it is.
  const reason = (seed: number): string | null => {
    const cell = cellAt(condition, seed),
      found = cell && checkpoint !== 'init' ? voidReason(cell, ACCURACY) : null;
    return found === null ? null : `the model ${found}`;
  };
  const seeds = condition.cells.map(({ seed }) => seed).sort((x, y) => x - y);
  const pairs = pairBySeed(seeds, read('lora'), read('full'), reason);
  const meanFullSize =
    pairs.b.reduce((sum, x) => sum + Math.abs(x), 0) / Math.max(1, pairs.b.length);
  return {
    quantity,
    checkpoint,
    condition,
    margin: RELATIVE_MARGIN * meanFullSize,
    verdict: null,
    ...pairs,
  };
}

/** Compares every quantity of both kernels at every checkpoint. The paper claims LoRA ≤ full. */
export function compareKernels(conditions: readonly Condition[]): readonly KernelComparison[] {
  const cells = conditions.flatMap((condition) => condition.cells);
  const quantities = [...INFORMATION, ...entropiesOf(cells)];
  return checkpointsOf(cells).flatMap((checkpoint) =>
    quantities.flatMap((quantity) => {
      const compared = withLora(conditions, checkpoint)
        .map((condition) => compareKernel(quantity, checkpoint, condition))
        .filter(({ difference, excluded }) => difference !== null || excluded > 0);
      // The claim is about LoRA: the kernel of another adapter is neither judged nor counted.
      const ofLora = compared.filter(({ condition }) => condition.adapter === 'lora');
      const verdicts = new Map(judge(ofLora, -1).map((verdict, i) => [ofLora[i], verdict]));
      return compared.map((comparison) => ({
        ...comparison,
        verdict: verdicts.get(comparison) ?? null,
      }));
    }),
  );
}

export interface Comparisons {
  readonly adapters: readonly AdapterComparison[];
  readonly kernels: readonly KernelComparison[];
}
