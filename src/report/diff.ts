/** Compares the results of two experiments. Pure. */
import type { Json, JsonObject } from '../api.ts';
import { type Mutable, valueAt } from '../base/record.ts';
import { meanOfKnown } from '../base/stats.ts';
import { differenceOver, differenceP, holmByMetric } from './against.ts';
import { measuredOn, type RowCount, voidReason } from './evidence.ts';
import { contentKey, distinct, groupBy, type NonEmpty } from './groups.ts';
import { ACCURACY } from './metrics.ts';
import type { CellMetrics } from './results.ts';
import { taskField } from './tasks.ts';

export interface ComparedCell extends Pick<CellMetrics, 'seed' | 'metrics' | 'tasks'> {
  /**
   * The cell's axis values and configuration under each of its names. It has several if the grid
   * writes one training in several ways (α = r and α = 16 at rank 16). Fields that are axes only in
   * the other experiment are read from the configuration.
   */
  readonly names: readonly { readonly axes: JsonObject; readonly config: unknown }[];
}

export interface DifferenceRow {
  readonly cell: JsonObject;
  readonly seed: number;
  readonly stage: string;
  readonly metric: string;
  /** As in `ResultRow`. */
  readonly task?: string;
  /** The numbers of the two experiments; null for one that has no such number. */
  readonly a: number | null;
  readonly b: number | null;
  /** Why each number is not evidence (evidence.ts); null if the number is evidence, or missing. */
  readonly reasonA: string | null;
  readonly reasonB: string | null;
  /** On how many rows each number was measured; null if the number, or that count, is missing. */
  readonly rowsA: number | null;
  readonly rowsB: number | null;
  /** b − a; null if either number is missing. */
  readonly difference: number | null;
  /** Why the pair is not compared. Null if it is evidence, or if either number is missing. */
  readonly excluded: string | null;
}

/**
 * Chooses the names under which each cell is listed, so that no two cells are compared twice. A
 * name is an object of axis path → value; a cell has several if the grid writes one training in
 * several ways. A cell is listed once for each cell of the other experiment that has a name in
 * common with it, under the first such name. A cell without a common name is listed under its own
 * first name.
 * @param a the names of each cell of one experiment; `b`, of the other
 * @returns `contentKey` of the list of a cell's names → the chosen names
 */
function listedNames(
  a: readonly (readonly JsonObject[])[],
  b: readonly (readonly JsonObject[])[],
): ReadonlyMap<string, readonly JsonObject[]> {
  const listed = new Map<string, JsonObject[]>();
  const cellsOfB = new Map(
    b.flatMap((names) => names.map((name) => [contentKey(name), contentKey(names)])),
  );
  const pairs = new Set<string>();
  for (const names of a)
    for (const name of names) {
      const other = cellsOfB.get(contentKey(name)),
        own = contentKey(names);
      if (other === undefined || pairs.has(contentKey([own, other]))) continue;
      pairs.add(contentKey([own, other]));
      for (const key of new Set([own, other])) listed.set(key, [...(listed.get(key) ?? []), name]);
    }
  for (const names of [...a, ...b])
    if (!listed.has(contentKey(names))) listed.set(contentKey(names), names.slice(0, 1));
  return listed;
}

/**
 * Returns a cell's names with its value at each of the paths: that of the axis or else of the
 * configuration. A path at which the cell has neither is left out.
 */
const fullNames = ({ names }: ComparedCell, paths: readonly string[]): JsonObject[] =>
  names.map(({ axes, config }) =>
    Object.fromEntries(
      paths.flatMap((path) => {
        const value = axes[path] ?? valueAt(config, path.split('.'));
        return value === undefined ? [] : [[path, value]];
      }),
    ),
  );

/**
 * Returns a cell's finite numbers, each with why it is not evidence (null if it is) and on how many
 * rows it was measured (null if that is unknown).
 */
const finiteNumbers = ({ metrics }: ComparedCell) =>
  Object.entries(metrics).flatMap(([stage, values]) =>
    Object.entries(values)
      .filter(([, value]) => Number.isFinite(value))
      .map(([metric, value]) => ({
        stage,
        metric,
        value,
        reason: stage === ACCURACY.stage ? voidReason({ metrics }, { metric }) : null,
        rows: measuredOn({ metrics }, { stage, metric })?.rows ?? null,
      })),
  );

type OpenRow = Mutable<Omit<DifferenceRow, 'difference' | 'excluded'>>;

const TRAINING = /^(base\.(\d+\.)?)?train\./;

/**
 * Whether a training setting differs between two experiments and tells no cells of either apart:
 * its value follows from the axes `others`, as an adapter's own learning rate does.
 */
function onlyDiffers(
  path: string,
  others: readonly string[],
  a: readonly ComparedCell[],
  b: readonly ComparedCell[],
): boolean {
  /** Returns the setting by the values at `others`; null if these do not determine it. */
  const settings = (cells: readonly ComparedCell[]): ReadonlyMap<string, string> | null => {
    const found = new Map<string, string>();
    for (const name of cells.flatMap((cell) => fullNames(cell, [...others, path]))) {
      const { [path]: value = null, ...rest } = name;
      const key = contentKey(rest),
        setting = contentKey(value);
      if ((found.get(key) ?? setting) !== setting) return null;
      found.set(key, setting);
    }
    return found;
  };
  const ofA = settings(a),
    ofB = settings(b);
  return ofB !== null && [...(ofA ?? [])].some(([key, own]) => (ofB.get(key) ?? own) !== own);
}

/**
 * Returns every number of either experiment, matched by cell, seed, stage and metric. Cells match
 * if they have the same values along the axes of both experiments. So a field that is fixed in one
 * experiment and varied in the other tells cells apart; a field that is fixed in both does not,
 * even if its values differ, nor does a training setting that follows from the other axes.
 */
export function differenceRows(
  a: readonly ComparedCell[],
  b: readonly ComparedCell[],
): DifferenceRow[] {
  const axes = distinct(
    [...a, ...b].flatMap(({ names }) => names.flatMap((name) => Object.keys(name.axes))),
  );
  const others = axes.filter((path) => !TRAINING.test(path)),
    paths = axes.filter((path) => !TRAINING.test(path) || !onlyDiffers(path, others, a, b));
  const namesIn = (cell: ComparedCell): JsonObject[] => fullNames(cell, paths);
  const listed = listedNames(a.map(namesIn), b.map(namesIn));
  const rows = new Map<string, OpenRow>();
  const add = (side: 'a' | 'b', one: ComparedCell): void => {
    const { seed } = one;
    for (const cell of listed.get(contentKey(namesIn(one))) ?? [])
      for (const { stage, metric, value, reason, rows: measured } of finiteNumbers(one)) {
        const name = contentKey([cell, seed, stage, metric]);
        const row: OpenRow = rows.get(name) ?? {
          ...{ cell, seed, stage, metric, a: null, b: null },
          ...taskField(one.tasks, { stage, metric }),
          ...{ reasonA: null, reasonB: null, rowsA: null, rowsB: null },
        };
        row[side] = value;
        row[side === 'a' ? 'reasonA' : 'reasonB'] = reason;
        row[side === 'a' ? 'rowsA' : 'rowsB'] = measured;
        rows.set(name, row);
      }
  };
  for (const cell of a) add('a', cell);
  for (const cell of b) add('b', cell);
  return [...rows.values()].map((row) => {
    const difference = row.a === null || row.b === null ? null : row.b - row.a,
      reasons = [
        ...(row.reasonA === null ? [] : [`A ${row.reasonA}`]),
        ...(row.reasonB === null ? [] : [`B ${row.reasonB}`]),
      ];
    return {
      ...row,
      difference,
      excluded: difference === null || reasons.length === 0 ? null : reasons.join('; '),
    };
  });
}

export interface DifferenceSummary {
  readonly cell: JsonObject;
  readonly stage: string;
  readonly metric: string;
  /**
   * The means of each experiment over the `pairs` or, without any pair, over all its seeds; null if
   * no seed has a number.
   */
  readonly a: number | null;
  readonly b: number | null;
  /** Why numbers behind these means are not evidence; empty for means over pairs. */
  readonly reasonsA: readonly string[];
  readonly reasonsB: readonly string[];
  /** Both counts of rows, for each seed at which A's number is on fewer rows than B's number. */
  readonly fewerA: readonly RowCount[];
  /** Both counts of rows, for each seed at which B's number is on fewer rows than A's number. */
  readonly fewerB: readonly RowCount[];
  /**
   * The mean of b − a (null without a pair) and its standard deviation (null for fewer than two).
   */
  readonly difference: number | null;
  readonly std: number | null;
  /** The 95% interval of the mean; null for fewer than two pairs. */
  readonly low: number | null;
  readonly high: number | null;
  /**
   * The p-value of no difference, corrected by `holmByMetric`; null where `differenceP` is null.
   */
  readonly p: number | null;
  /** How many seeds have both numbers and are evidence. */
  readonly pairs: number;
  /** How many seeds have both numbers but are not evidence. */
  readonly excluded: number;
  /** How many seeds only one of the experiments has. */
  readonly unpaired: number;
}

export function summariseDifferences(rows: readonly DifferenceRow[]): DifferenceSummary[] {
  const groups = groupBy(rows, ({ cell, stage, metric }) => contentKey([cell, stage, metric]));
  const summaries = [...groups.values()].map(summariseGroup);
  const corrected = holmByMetric(summaries);
  return summaries.map((summary, i) => ({ ...summary, p: corrected[i] ?? null }));
}

/**
 * Returns both counts, in a list, if `rows` is the smaller one; [] if not, or if one is unknown.
 */
const fewerRows = (rows: number | null, of: number | null): readonly RowCount[] =>
  rows !== null && of !== null && rows < of ? [{ rows, of }] : [];

/** Summarises a group over its seeds. The p-value is not corrected yet. */
function summariseGroup(group: NonEmpty<DifferenceRow>): DifferenceSummary {
  const [{ cell, stage, metric }] = group;
  const both = group.filter(
    (row): row is DifferenceRow & { a: number; b: number } => row.a !== null && row.b !== null,
  );
  const pairs = both.filter(({ excluded }) => excluded === null);
  const counted = pairs.length === 0 ? group : pairs;
  const paired = differenceOver(pairs.map(({ a, b }) => [b, a]));
  return {
    cell,
    stage,
    metric,
    a: meanOfKnown(counted.map((row) => row.a)),
    b: meanOfKnown(counted.map((row) => row.b)),
    reasonsA: distinct(counted.flatMap(({ reasonA }) => reasonA ?? [])),
    reasonsB: distinct(counted.flatMap(({ reasonB }) => reasonB ?? [])),
    fewerA: counted.flatMap(({ rowsA, rowsB }) => fewerRows(rowsA, rowsB)),
    fewerB: counted.flatMap(({ rowsA, rowsB }) => fewerRows(rowsB, rowsA)),
    difference: paired?.mean ?? null,
    std: paired?.std ?? null,
    low: paired?.low ?? null,
    high: paired?.high ?? null,
    p: differenceP({ stage, metric }, paired),
    pairs: pairs.length,
    excluded: both.length - pairs.length,
    unpaired: group.length - both.length,
  };
}

export interface FieldDifference {
  readonly path: string;
  readonly a: Json;
  readonly b: Json;
}

/**
 * Returns the fields in which two resolved specs differ, by full path, with null for a field that
 * is not set. A list counts as one value, except that `base`, if it is a list in both specs (a
 * chain), is compared training by training, and lists of variants that name the same plugins,
 * variant by variant. `path` is that of `a` and `b` themselves, '' for whole specs.
 */
export function fieldDifferences(a: unknown, b: unknown, path = ''): FieldDifference[] {
  const [isListA, isListB] = [Array.isArray(a), Array.isArray(b)],
    isOneValue =
      path === 'base' ? isListA !== isListB : (isListA || isListB) && !haveSamePlugins(a, b);
  const isRecord = (value: unknown): value is { readonly [key: string]: unknown } =>
    typeof value === 'object' && value !== null && !isOneValue;
  if (isRecord(a) && isRecord(b)) {
    return distinct([...Object.keys(a), ...Object.keys(b)]).flatMap((key) =>
      fieldDifferences(a[key], b[key], path === '' ? key : `${path}.${key}`),
    );
  }
  return contentKey(a ?? null) === contentKey(b ?? null)
    ? []
    : [{ path, a: (a ?? null) as Json, b: (b ?? null) as Json }];
}

/** Whether both are lists of variants that name the same plugins in the same order. */
function haveSamePlugins(a: unknown, b: unknown): boolean {
  const namesIn = (list: unknown): readonly unknown[] =>
    (Array.isArray(list) ? (list as readonly Json[]) : [null]).map((one) => {
      const { attack, defence, type } = (one ?? {}) as { readonly [field: string]: unknown };
      return attack ?? defence ?? type ?? null;
    });
  const names = namesIn(a);
  return !names.includes(null) && contentKey(names) === contentKey(namesIn(b));
}
