/**
 * Groups cells that differ only in their seed into conditions, the unit of every table and figure.
 * A condition's name holds what varies over the grid and nothing else.
 */
import type { Json, JsonObject, StageFacts } from '../api.ts';
import type { CellPattern } from '../api/report.ts';
import { summarise, type Summary } from '../base/stats.ts';
import { compareRowCounts, voidReason } from './evidence.ts';
import { contentKey, distinct, groupBy, type NonEmpty } from './groups.ts';
import {
  axesByName,
  blockLabel,
  createLabeller,
  defenceOf,
  doseUnit,
  earlierAttacks,
  type Labels,
  placedAttack,
} from './labels.ts';
import { ACCURACY, type MetricNote } from './metrics.ts';
import type { AttackFamily, ReportCell } from './types.ts';

/**
 * The paper trains clean bases, and defends none. It makes no claim about a poisoned base that is
 * trained further, on clean rows or on poisoned ones, nor about a defence, which may drop poison.
 */
export type Unclaimed = 'a poisoned base that is trained further' | 'models under a defence';

function unclaimedOf(cell: ReportCell): Unclaimed | null {
  if (cell.ofBase !== undefined || earlierAttacks(cell.axes).length > 0)
    return 'a poisoned base that is trained further';
  return defenceOf(cell) === null ? null : 'models under a defence';
}

export interface Condition extends Labels {
  readonly key: string;
  readonly attack: string;
  readonly family: AttackFamily;
  /**
   * The attacked base's section, as in `ReportCell`; null if the attack is on the cell's own
   * training.
   */
  readonly ofBase: string | null;
  /** Of what the paper makes no claim about robustness, if the condition is such; else null. */
  readonly unclaimed: Unclaimed | null;
  readonly adapter: string;
  readonly axes: JsonObject;
  /**
   * The condition under each of its names, if it has several (α = r and α = 16 at rank 16). Only
   * figures along an axis use it, because each name has a place there. Everywhere else the
   * condition counts once.
   */
  readonly named: readonly Condition[];
  /** One cell for each seed, in the order of the spec. */
  readonly cells: NonEmpty<ReportCell>;
  /** The failed and blocked stages of each cell that has any. */
  readonly failures: ReadonlyMap<ReportCell, readonly StageFacts[]>;
  /** Returns the condition's labels without some axes, which a figure draws instead of naming. */
  labelsWithout(...paths: readonly string[]): Labels;
}

export const isFull = (condition: { readonly adapter: string }): boolean =>
  condition.adapter === 'full';

/** Returns every condition under each of its names, for a figure along an axis. */
export const byName = (conditions: readonly Condition[]): readonly Condition[] =>
  conditions.flatMap((condition) => (condition.named.length === 0 ? [condition] : condition.named));

/** Groups cells into conditions, in the order of the spec, in linear time. */
export function conditionsOf(
  cells: readonly ReportCell[],
  stages: readonly StageFacts[],
): readonly Condition[] {
  const stageOf = new Map(stages.map((stage) => [stage.id, stage]));
  const labelsOf = createLabeller(cells);
  const failuresOf = (cell: ReportCell): readonly StageFacts[] =>
    distinct(Object.values(cell.stages))
      .map((id) => stageOf.get(id))
      .filter((stage) => stage !== undefined)
      .filter(({ state }) => state === 'failed' || state === 'blocked');

  const groups = groupBy(cells, (cell) => contentKey([cell.axes, cell.train]));
  return [...groups].map(([key, group]): Condition => {
    const [cell] = group,
      { also: _also, ...single } = cell;
    const failures = new Map(
      group.map((one) => [one, failuresOf(one)] as const).filter(([, failed]) => failed.length > 0),
    );
    const conditionNamed = (name: ReportCell): Condition => ({
      key,
      attack: cell.attack,
      family: cell.family,
      ofBase: cell.ofBase ?? null,
      unclaimed: unclaimedOf(cell),
      adapter: cell.adapter,
      ...labelsOf(name),
      axes: name.axes,
      named: [],
      cells: group,
      failures,
      labelsWithout: (...paths) => labelsOf(name, paths),
    });
    const names = axesByName(cell);
    return {
      ...conditionNamed(cell),
      named: names.length === 1 ? [] : names.map((axes) => conditionNamed({ ...single, axes })),
    };
  });
}

/**
 * Leaves out copies: a condition is a copy if another one has, at each of its seeds, the same stage
 * of this label. Of conditions that are copies of each other, the first is kept. Attacks share what
 * is measured where training starts, and defences what they leave as it is. Axes of `fisher` must
 * agree as well, because they say how a stage's kernel is read.
 * @param label the stage's label in `ReportCell.stages`; cells without it are no copies
 */
export function oncePerStage(conditions: readonly Condition[], label: string): Condition[] {
  const all = conditions.map((condition, index) => {
    const { axes, cells } = condition;
    const read = Object.entries(axes).filter(([path]) => path.startsWith('fisher.'));
    const measured = cells.every(({ stages }) => stages[label] !== undefined)
      ? cells.map(({ seed, stages }) => contentKey([seed, stages[label], read]))
      : [];
    return { condition, index, measured };
  });
  const sharing = groupBy(
    all.flatMap((one) => one.measured.map((key) => ({ ...one, key }))),
    ({ key }) => key,
  );
  const isCopy = ({ index, measured }: (typeof all)[number]): boolean =>
    (sharing.get(measured[0] ?? '') ?? []).some(
      (other) =>
        measured.every((key) => other.measured.includes(key)) &&
        (other.measured.length > measured.length || other.index < index),
    );
  return all.filter((one) => !isCopy(one)).map(({ condition }) => condition);
}

/** Names what a condition starts its training from: its setting and, if poisoned, its base. */
export const startLabel = (condition: Condition): string =>
  condition.ofBase === null ? condition.setting : blockLabel(condition);

/** Reads a number of a cell; null if the cell has none. */
export type Quantity = (cell: ReportCell) => number | null;

/** Returns a function that reads a stage's metric; null if the cell lacks it. */
export const metricOf =
  (stage: string, metric: string): Quantity =>
  (cell) =>
    cell.metrics[stage]?.[metric] ?? null;

export const scoreOf = ({ stage, metric }: Pick<MetricNote, 'stage' | 'metric'>): Quantity =>
  metricOf(stage, metric);

/** A number over the seeds of a condition. */
export interface Series {
  /** One value for each seed that has the number. */
  readonly values: readonly { readonly seed: number; readonly value: number }[];
  /** Null if no seed has the number. */
  readonly summary: Summary | null;
  /** How many seeds lack the number because one of their stages failed. */
  readonly failed: number;
  /** How many seeds lack the number although nothing failed, or have a value that is not finite. */
  readonly missing: number;
}

/** Reads a quantity of each of a condition's cells, and summarises its finite values. */
export function seriesOf(condition: Condition, quantity: Quantity): Series {
  const values: { seed: number; value: number }[] = [];
  let failed = 0,
    missing = 0;
  for (const cell of condition.cells) {
    const value = quantity(cell);
    if (value !== null && Number.isFinite(value)) values.push({ seed: cell.seed, value });
    else if (condition.failures.has(cell)) failed++;
    else missing++;
  }
  return {
    values,
    failed,
    missing,
    summary: values.length === 0 ? null : summarise(values.map(({ value }) => value)),
  };
}

/** Returns the summary of a metric over a condition's seeds, or null if no seed has it. */
export const summaryOf = (
  condition: Condition,
  metric: Pick<MetricNote, 'stage' | 'metric'>,
): Summary | null => seriesOf(condition, scoreOf(metric)).summary;

/**
 * Returns the condition's value on an axis, if it has one. For an attack on the base, `poisoning`
 * means the base's.
 */
export const axisValue = ({ axes, ofBase }: Condition, path: string): Json | undefined =>
  axes[ofBase !== null && path.startsWith('poisoning.') ? `${ofBase}.${path}` : path];

/** Returns the condition's value on an axis if it is a number; else null. */
export function numericAxis(condition: Condition, path: string): number | null {
  const value = axisValue(condition, path);
  return typeof value === 'number' ? value : null;
}

/** Whether the condition's value on each axis of the pattern (or null) is in its list or range. */
const isMatch = (condition: Condition, pattern: CellPattern): boolean =>
  Object.entries(pattern).every(([path, asked]) => {
    const value = axisValue(condition, path) ?? null;
    if (isList(asked)) {
      // A list matches as a whole or by one of its items.
      const values = Array.isArray(value) ? [value, ...(value as readonly Json[])] : [value];
      return asked.some((one) => values.some((item) => contentKey(one) === contentKey(item)));
    }
    const { min = -Infinity, max = Infinity } = asked;
    return typeof value === 'number' && value >= min && value <= max;
  });

/** Returns the conditions that match a pattern, by order of patterns; without patterns, all. */
export function chooseConditions(
  conditions: readonly Condition[],
  patterns: readonly CellPattern[] = [],
): readonly Condition[] {
  if (patterns.length === 0) return conditions;
  const groups = groupBy(conditions, (condition) =>
    String(patterns.findIndex((pattern) => isMatch(condition, pattern))),
  );
  return patterns.flatMap((_, i) => groups.get(String(i)) ?? []);
}

/** Returns the conditions with a name that matches a pattern, each once, by order of patterns. */
export const chooseByName = (
  unique: readonly Condition[],
  patterns?: readonly CellPattern[],
): readonly Condition[] => {
  const byKey = new Map(unique.map((condition) => [condition.key, condition]));
  return distinct(chooseConditions(byName(unique), patterns).map(({ key }) => key)).flatMap(
    (key) => byKey.get(key) ?? [],
  );
};

const isList = (asked: CellPattern[string]): asked is readonly Json[] => Array.isArray(asked);

/** Returns a function that tells whether a number of these cells is on fewer rows than others. */
export const rowCountsIn = (conditions: readonly Condition[]) =>
  compareRowCounts(
    conditions.flatMap(({ cells }) => [...cells]),
    ({ axes }) => axes,
  );

/** Returns, by seed, why a metric's number is not evidence (evidence.ts), where it is not. */
export const voidReasons = (
  { cells }: Condition,
  metric: Pick<MetricNote, 'metric'>,
): ReadonlyMap<number, string> =>
  new Map(
    cells.flatMap((cell) => {
      const isMeasured = cell.metrics[ACCURACY.stage]?.[metric.metric] !== undefined,
        reason = voidReason(cell, metric);
      return !isMeasured || reason === null ? [] : [[cell.seed, reason] as const];
    }),
  );

export const hasVoidNumber = (condition: Condition, metric: Pick<MetricNote, 'metric'>): boolean =>
  voidReasons(condition, metric).size > 0;

/** How many attacks of each family the first screen shows. */
const MOST_ATTACKS = { none: 1, untargeted: 2, backdoor: 3 } as const;

/** Returns the sum of the doses of an attack's steps. */
const totalDose = (condition: Condition): number => {
  const prefix = condition.ofBase === null ? '' : `${condition.ofBase}.`;
  return Object.keys(condition.axes)
    .filter((path) => path.startsWith(prefix))
    .map((path) => path.slice(prefix.length))
    .filter((path) => doseUnit(path) !== null)
    .reduce((sum, path) => sum + (numericAxis(condition, path) ?? 0), 0);
};

/** Names an attack and the training that it is on; the first screen has a place for each such. */
const attackIn = ({ attack, ofBase }: Condition): string => placedAttack(attack, ofBase);

/**
 * Returns a family's blocks for the first screen; a block is one attack at one dose and one
 * setting. For each attack on each training, this is the block of its highest dose, in the setting
 * of the family's first condition with the attack on that training.
 */
export function headlineBlocks(
  conditions: readonly Condition[],
  family: Condition['family'],
): readonly NonEmpty<Condition>[] {
  const having = conditions.filter((condition) => condition.family === family);
  const attacks = [...groupBy(having, attackIn).values()].slice(0, MOST_ATTACKS[family]);
  return attacks.flatMap((ofAttack) => {
    const { setting } = having.find(({ ofBase }) => ofBase === ofAttack[0].ofBase) ?? ofAttack[0];
    const alike = ofAttack.filter((condition) => condition.setting === setting);
    const [first] = alike;
    if (first === undefined) return [];
    const top = alike.reduce((best, one) => (totalDose(one) > totalDose(best) ? one : best), first);
    const block = groupBy(alike, blockLabel).get(blockLabel(top));
    return block === undefined ? [] : [block];
  });
}

/**
 * Returns, for each of a family's headline blocks, the labels of the blocks that it leaves out:
 * other doses and settings of its attack and, for the last headline, attacks without a headline.
 */
export function labelsLeftOut(
  conditions: readonly Condition[],
  family: Condition['family'],
): readonly (readonly string[])[] {
  const having = conditions.filter((condition) => condition.family === family);
  const headlines = headlineBlocks(conditions, family).map(([first]) => first);
  const shown = new Set(headlines.map(blockLabel)),
    attacks = new Set(headlines.map(attackIn));
  const labelsOf = (isWanted: (condition: Condition) => boolean): string[] =>
    distinct(having.filter(isWanted).map(blockLabel)).filter((name) => !shown.has(name));
  return headlines.map((headline, i) => [
    ...labelsOf((condition) => attackIn(condition) === attackIn(headline)),
    ...(i < headlines.length - 1 ? [] : labelsOf((condition) => !attacks.has(attackIn(condition)))),
  ]);
}
