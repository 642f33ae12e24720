/**
 * Groups cells that differ only in their seed into conditions, the unit of every table and figure.
 * Conditions are named by what varies over the grid.
 */
import type { Json, JsonObject, StageFacts } from '../api.ts';
import type { CellPattern } from '../api/report.ts';
import { summarise, type Summary } from '../base/stats.ts';
import { compareRowCounts, voidReason } from './evidence.ts';
import { contentKey, distinct, groupBy, nearest, type NonEmpty } from './groups.ts';
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
import { ACCURACY, type Metric } from './metrics.ts';
import type { AttackFamily, ReportCell } from './types.ts';

/** What the paper makes no claim about: its bases are clean, and its models have no defence. */
export type Unclaimed = 'a poisoned base that is trained further' | 'models under a defence';

/** Returns why none of the paper's claims is about a cell; null if one may be. */
function findUnclaimed(cell: ReportCell): Unclaimed | null {
  if (cell.ofBase !== undefined || earlierAttacks(cell.axes).length > 0)
    return 'a poisoned base that is trained further';
  return defenceOf(cell) === null ? null : 'models under a defence';
}

export interface Condition extends Labels {
  readonly key: string;
  readonly attack: string;
  readonly family: AttackFamily;
  /** The section of the attacked base, as in `ReportCell`; null if no base is attacked. */
  readonly ofBase: string | null;
  /** Why none of the paper's claims is about the condition; null if one may be. */
  readonly unclaimed: Unclaimed | null;
  readonly adapter: string;
  readonly axes: JsonObject;
  /**
   * The condition under each of its names (α = r and α = 16 at rank 16); empty if it has only one.
   * A figure along an axis has a place for each name. Elsewhere the condition counts once.
   */
  readonly named: readonly Condition[];
  /** One cell for each seed, in the order of the spec. */
  readonly cells: NonEmpty<ReportCell>;
  /** The cells with a failed or blocked stage. */
  readonly failedCells: ReadonlySet<ReportCell>;
  /** Returns the labels without the axes `paths`, which a figure draws instead of naming. */
  labelsWithout(...paths: readonly string[]): Labels;
}

export const isFull = (condition: { readonly adapter: string }): boolean =>
  condition.adapter === 'full';

export const byName = (conditions: readonly Condition[]): readonly Condition[] =>
  conditions.flatMap((condition) => (condition.named.length === 0 ? [condition] : condition.named));

/** Groups cells into conditions, in the order of the spec. Takes linear time. */
export function conditionsOf(
  cells: readonly ReportCell[],
  stages: readonly StageFacts[],
): readonly Condition[] {
  const lost = stages.filter(({ state }) => state === 'failed' || state === 'blocked'),
    lostIds = new Set(lost.map(({ id }) => id));
  const labelsOf = createLabeller(cells);
  const groups = groupBy(cells, (cell) => contentKey([cell.axes, cell.train]));
  return [...groups].map(([key, group]): Condition => {
    const [cell] = group,
      { also: _also, ...single } = cell;
    const failedCells = new Set(
      group.filter((one) => Object.values(one.stages).some((id) => lostIds.has(id))),
    );
    const conditionNamed = (name: ReportCell): Condition => ({
      key,
      attack: cell.attack,
      family: cell.family,
      ofBase: cell.ofBase ?? null,
      unclaimed: findUnclaimed(cell),
      adapter: cell.adapter,
      ...labelsOf(name),
      axes: name.axes,
      named: [],
      cells: group,
      failedCells,
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
 * Leaves out copies. A condition is a copy of another one that has, at each of its seeds, the same
 * stage under `label`; if two are copies of each other, the first is kept. For example, conditions
 * that differ only in their attack share what is measured where training starts, and conditions
 * that differ only in their defence share the stages on which the defence has no effect. Conditions
 * that differ in an axis of `fisher` are no copies, because the axis says how the stage's kernel is
 * read.
 * @param label a label in `ReportCell.stages`; a condition with a cell that lacks it is no copy
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

/** Returns the cell of a seed; undefined if the condition has none. */
export const cellAt = ({ cells }: Condition, seed: number): ReportCell | undefined =>
  cells.find((cell) => cell.seed === seed);

/**
 * Returns `LoRA r = 4 under badnets, rate 0.1`, or `full without attack`, followed by the setting
 * if it has a name.
 */
export const conditionName = (condition: Condition): string => {
  const attack =
    condition.family === 'none'
      ? ['without attack', condition.setting].filter((part) => part !== '').join(', ')
      : `under ${blockLabel(condition)}`;
  return `${condition.adapterLabel} ${attack}`;
};

/** Names what a training starts from: the setting and, if a base is attacked, that attack. */
export const startLabel = (condition: Condition): string =>
  condition.ofBase === null ? condition.setting : blockLabel(condition);

/** Reads a number of a cell; null if the cell has none. */
export type Quantity = (cell: ReportCell) => number | null;

export const metricOf =
  (stage: string, metric: string): Quantity =>
  (cell) =>
    cell.metrics[stage]?.[metric] ?? null;

export const scoreOf = ({ stage, metric }: Metric): Quantity => metricOf(stage, metric);

export interface Series {
  /** The finite values, one for each seed that has one. */
  readonly values: readonly { readonly seed: number; readonly value: number }[];
  /** Null if no seed has the number. */
  readonly summary: Summary | null;
  /** How many seeds lack the number because one of their stages failed. */
  readonly failed: number;
  /** How many other seeds lack the number, or have one that is not finite. */
  readonly missing: number;
}

export function seriesOf(condition: Condition, quantity: Quantity): Series {
  const values: { seed: number; value: number }[] = [];
  let failed = 0,
    missing = 0;
  for (const cell of condition.cells) {
    const value = quantity(cell);
    if (value !== null && Number.isFinite(value)) values.push({ seed: cell.seed, value });
    else if (condition.failedCells.has(cell)) failed++;
    else missing++;
  }
  return {
    values,
    failed,
    missing,
    summary: values.length === 0 ? null : summarise(values.map(({ value }) => value)),
  };
}

/** Summarises a metric over the seeds of a condition; null if no seed has it. */
export const summaryOf = (condition: Condition, metric: Metric): Summary | null =>
  seriesOf(condition, scoreOf(metric)).summary;

/**
 * Returns a condition's value on an axis; undefined if it has none. If the attack is on a base, a
 * path that begins with `poisoning.` means the base's poisoning.
 */
export const axisValue = ({ axes, ofBase }: Condition, path: string): Json | undefined =>
  axes[ofBase !== null && path.startsWith('poisoning.') ? `${ofBase}.${path}` : path];

/** Returns a condition's value on an axis (`axisValue`); null if it is not a number. */
export function numericAxis(condition: Condition, path: string): number | null {
  const value = axisValue(condition, path);
  return typeof value === 'number' ? value : null;
}

/**
 * Whether a condition's value on each axis of the pattern is in the axis's list or range. On an
 * axis that the condition lacks, its value is null.
 */
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

/**
 * Returns the conditions that match any pattern, each once, ordered by the first pattern that they
 * match; without patterns, all.
 */
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

/**
 * Returns the conditions of which any name matches a pattern, each once, in the order of the
 * patterns; without patterns, all.
 */
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

export const rowCountsIn = (conditions: readonly Condition[]) =>
  compareRowCounts(
    conditions.flatMap(({ cells }) => [...cells]),
    ({ axes }) => axes,
  );

/** Returns, for each seed whose number of a metric is not evidence, why it is not. */
export const voidReasons = (
  { cells }: Condition,
  metric: Pick<Metric, 'metric'>,
): ReadonlyMap<number, string> =>
  new Map(
    cells.flatMap((cell) => {
      const isMeasured = cell.metrics[ACCURACY.stage]?.[metric.metric] !== undefined,
        reason = voidReason(cell, metric);
      return !isMeasured || reason === null ? [] : [[cell.seed, reason] as const];
    }),
  );

/** How many attacks of each family the first screen shows. */
const MOST_ATTACKS = { none: 1, untargeted: 2, backdoor: 3 } as const;

/**
 * Returns the axes that are doses of the condition's attack, as paths within the attacked training:
 * `poisoning.rate` also where the axis is `base.poisoning.rate`.
 */
const dosePaths = ({ ofBase, axes }: Condition): readonly string[] => {
  const prefix = ofBase === null ? '' : `${ofBase}.`;
  return Object.keys(axes)
    .filter((path) => path.startsWith(prefix))
    .map((path) => path.slice(prefix.length))
    .filter((path) => doseUnit(path) !== null);
};

/**
 * Returns the block with the highest dose, given the conditions of one attack in one setting. A
 * dose is the sum of rates or counts or, if both occur, how many rows the receipts say were
 * poisoned.
 */
function highestDose(conditions: readonly Condition[]): NonEmpty<Condition> | undefined {
  const units = new Set(conditions.flatMap(dosePaths).map(doseUnit));
  const dose = (block: NonEmpty<Condition>): number =>
    units.size > 1
      ? Math.max(...block.flatMap(({ cells }) => cells.map(({ receipt }) => receipt?.made ?? 0)))
      : dosePaths(block[0]).reduce((sum, path) => sum + (numericAxis(block[0], path) ?? 0), 0);
  return nearest([...groupBy(conditions, blockLabel).values()], (block) => -dose(block))[0];
}

const attackIn = ({ attack, ofBase }: Condition): string => placedAttack(attack, ofBase);

/**
 * Returns the blocks of a family that the first screen shows: at most one for each of its first
 * MOST_ATTACKS attacks. One attack on two trainings counts as two. A block holds the conditions of
 * one attack at one dose in one setting. So that blocks can be compared, all attacks on the same
 * training are shown in one setting, that of the family's first condition on this training; an
 * attack without conditions in this setting has no block. Of an attack's doses in this setting, the
 * highest is shown.
 */
export function headlineBlocks(
  conditions: readonly Condition[],
  family: Condition['family'],
): readonly NonEmpty<Condition>[] {
  const having = conditions.filter((condition) => condition.family === family);
  const attacks = [...groupBy(having, attackIn).values()].slice(0, MOST_ATTACKS[family]);
  return attacks.flatMap((ofAttack) => {
    const [first] = ofAttack;
    const { setting } = having.find(({ ofBase }) => ofBase === first.ofBase) ?? first;
    const block = highestDose(ofAttack.filter((condition) => condition.setting === setting));
    return block === undefined ? [] : [block];
  });
}

/**
 * Returns, for each headline block, the labels of blocks that the first screen leaves out: the same
 * attack's other blocks. The last headline block also gets the blocks of attacks without a headline
 * block.
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
