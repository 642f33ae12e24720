/** Compares LoRA, or any other adapter, with full fine-tuning, paired by seed. */
import { type Condition, isFull, type Quantity, scoreOf } from './conditions.ts';
import { voidReason } from './evidence.ts';
import { contentKey, groupBy, nearest, trainingDistance } from './groups.ts';
import { PROPORTION_MARGIN } from './margins.ts';
import { ASR, ASR_ADDED, COMPARED, DROP, type MetricNote } from './metrics.ts';
import { cellsBySeed, type Comparison, pairBySeed } from './pairs.ts';
import { judge, judgeBoth, type PairedSample, type Verdict } from './verdict.ts';

export interface AdapterComparison extends Comparison {
  readonly metric: MetricNote;
  readonly adapter: Condition;
  readonly full: Condition;
}

/**
 * Returns the sign that the paper claims for adapter − full, or null if it makes no claim: its
 * claims are about LoRA, not about other adapters.
 */
function claimed(metric: MetricNote, condition: Condition): 1 | -1 | null {
  if (condition.ofBase || condition.adapter !== 'lora') return null;
  if (metric === ASR && condition.family === 'backdoor') return -1;
  if (metric === DROP && condition.family === 'untargeted') return 1;
  return null;
}

/** The axes of a condition that are neither the adapter's nor the training's. */
const blockKey = ({ axes }: Condition): string =>
  contentKey(
    Object.fromEntries(Object.entries(axes).filter(([path]) => !/^(adapter|train)\./.test(path))),
  );

/**
 * Pairs each adapter's condition with the full fine-tunings that have the same attack and the same
 * other axes. Of these it takes those that differ from the adapter in the fewest of the training's
 * axes: with a learning rate for each adapter, those of as many steps.
 */
export function adapterPairs(
  conditions: readonly Condition[],
): readonly { readonly adapter: Condition; readonly full: Condition }[] {
  const fulls = groupBy(conditions.filter(isFull), blockKey);
  return conditions
    .filter((condition) => !isFull(condition))
    .flatMap((adapter) => {
      const block = fulls.get(blockKey(adapter)) ?? [];
      return nearest(block, (full) => trainingDistance(full.axes, adapter.axes)).map((full) => ({
        adapter,
        full,
      }));
    });
}

/** Returns a function that reads a quantity by seed. */
function readBySeed(condition: Condition, quantity: Quantity): (seed: number) => number | null {
  const cells = cellsBySeed(condition);
  return (seed) => {
    const cell = cells.get(seed);
    return cell ? quantity(cell) : null;
  };
}

function compareOne(metric: MetricNote, adapter: Condition, full: Condition): AdapterComparison {
  const sides = [adapter, full].map((condition) => ({ condition, cells: cellsBySeed(condition) }));
  const seeds = [...new Set(sides.flatMap(({ cells }) => [...cells.keys()]))].sort((x, y) => x - y);
  const reason = (seed: number): string | null => {
    for (const { condition, cells } of sides) {
      const cell = cells.get(seed);
      const found = cell ? voidReason(cell, metric) : null;
      if (found !== null) return `${condition.adapterLabel} ${found}`;
    }
    return null;
  };
  const quantity = scoreOf(metric);
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
 * Returns, for the pairs of an ASR comparison, what the trigger adds to each model's own rate of
 * the target. If that was not measured for any model, returns the ASR itself.
 */
function addedByTrigger({ adapter, full, seeds, a, b, margin }: AdapterComparison): PairedSample {
  const valuesOf = (condition: Condition): number[] => {
    const read = readBySeed(condition, scoreOf(ASR_ADDED));
    return seeds.flatMap((seed) => read(seed) ?? []);
  };
  const ofAdapter = valuesOf(adapter),
    ofFull = valuesOf(full);
  if (ofAdapter.length === 0 && ofFull.length === 0) return { a, b, margin };
  return ofAdapter.length === seeds.length && ofFull.length === seeds.length
    ? { a: ofAdapter, b: ofFull, margin }
    : { a: [], b: [], margin };
}

/**
 * Compares every metric for every pair that has it, with verdicts by claim. A verdict on ASR
 * requires more than a difference of the rates: what the trigger adds to each model's own rate of
 * the target must differ as claimed too. Otherwise a model that gives the target class to most rows
 * anyway would count as successfully attacked.
 */
export function compareAdapters(conditions: readonly Condition[]): readonly AdapterComparison[] {
  const pairs = adapterPairs(conditions);
  return COMPARED.flatMap((metric) => {
    const found = pairs
      .map(({ adapter, full }) => compareOne(metric, adapter, full))
      .filter(({ difference, excluded }) => difference !== null || excluded > 0);
    const verdicts = new Map<AdapterComparison, Verdict | undefined>();
    for (const direction of [1, -1] as const) {
      const family = found.filter(({ adapter }) => claimed(metric, adapter) === direction);
      const judged =
        metric === ASR
          ? judgeBoth(family, family.map(addedByTrigger), direction)
          : judge(family, direction);
      for (const [i, comparison] of family.entries()) verdicts.set(comparison, judged[i]);
    }
    return found.map((comparison) => ({
      ...comparison,
      verdict: verdicts.get(comparison) ?? null,
    }));
  });
}
