/**
 * Lays out results over chosen axes: finds the place of each cell of an experiment in a table.
 * Pure.
 */
import type { Json, JsonObject } from '../api.ts';
import {
  type PairedDifference,
  pairedDifference,
  summarise,
  type Summary,
} from '../base/stats/summary.ts';
import { voidReason } from './evidence.ts';
import { plainText } from './format.ts';
import { contentKey, distinct, nearest, trainingDistance } from './groups.ts';
import { adapterTitle } from './labels.ts';
import { ACCURACY, ASR, ASR_CLEAN, ASR_MINUS_CLEAN, DROP } from './metrics.ts';
import { plainDifference, plainSpread, type Spread } from './numbers.ts';
import { type ResultCell, resultCells, type ResultRow, valuesBySeed } from './results.ts';
import { metricName } from './select.ts';

export type Metric = Pick<ResultRow, 'stage' | 'metric'>;
/** What each number is compared with, paired by seed. */
export type Against = 'full' | 'clean' | 'none';

export interface GridRequest {
  readonly rows: readonly ResultRow[];
  readonly metrics: readonly Metric[];
  /** The paths of the axes down and across, outermost first. */
  readonly rowAxes: readonly string[];
  readonly columnAxes: readonly string[];
  readonly against: Against;
}

export interface Entry {
  readonly cell: JsonObject;
  readonly summary: Summary;
  /** The value of each seed. */
  readonly values: readonly number[];
  /** How many seeds were planned. */
  readonly planned: number;
  /** One reason for each seed whose number is not evidence. */
  readonly reasons: readonly string[];
  /** Null if there is nothing to compare with. */
  readonly difference: PairedDifference | null;
  /**
   * One reason for each seed whose pair is not evidence (evidence.ts) and is therefore not
   * compared.
   */
  readonly excluded: readonly string[];
}

/**
 * The values along some axes, axis by axis. An axis has several values if all cells in that place
 * have several names, and none if the cells do not have the axis.
 */
export type PlaceNames = readonly (readonly Json[])[];

export interface GridColumn {
  readonly at: PlaceNames;
  readonly metric: Metric;
  /** Whether any number of the column is compared with another. */
  readonly differs: boolean;
}

export interface Grid {
  readonly rows: readonly PlaceNames[];
  /** One column for each metric at each place across. Columns without any number are left out. */
  readonly columns: readonly GridColumn[];
  /**
   * The entries by row and column. A cell whose names have different places has the same object at
   * each of them.
   */
  readonly entries: readonly (readonly (Entry | null)[])[];
}

/** The axes in which two cells differ although they would have the same place in the table. */
export interface Clash {
  readonly clash: readonly string[];
}

type Values = ReadonlyMap<number, number>;

interface Group extends ResultCell {
  /** All of the cell's names, `cell` first. */
  readonly names: readonly JsonObject[];
}

/** What a cell's number is compared with, by seed. */
interface Partner {
  readonly values: Values;
  /** Returns why the pair of a seed is not evidence, or null if it is. */
  readonly reason: (seed: number) => string | null;
}

const without = (cell: JsonObject, ...prefixes: readonly string[]): JsonObject =>
  Object.fromEntries(
    Object.entries(cell).filter(([path]) => !prefixes.some((prefix) => path.startsWith(prefix))),
  );

type PartnerOf = (group: Group, metric: Metric) => Partner | null;

/** Returns the paired clean run, as the evaluation of the attacked run recorded it. */
const cleanPartner: PartnerOf = (group, metric) => {
  const values = ofCleanRun(group, metric);
  // The reason is that of the difference, which is evidence only if both runs are.
  const difference = metricName(metric) === metricName(ASR) ? ASR_MINUS_CLEAN : DROP;
  return values && { values, reason: (seed) => reasonOf(group, seed, difference) };
};

/**
 * Returns a function that finds the full fine-tuning with the same attack and settings: the one
 * that differs in the fewest of the training's axes. It finds none if several differ in as many.
 */
function fullPartner(groups: readonly Group[]): PartnerOf {
  const fulls = groups.filter(({ cell }) => cell['adapter.type'] === 'full');
  return (group, metric) => {
    if (group.cell['adapter.type'] === 'full') return null;
    const settingOf = (name: JsonObject): string => contentKey(without(name, 'adapter.', 'train.'));
    const own = new Set(group.names.map(settingOf));
    const alike = fulls.filter(({ names }) => names.some((name) => own.has(settingOf(name))));
    const [full, ...others] = nearest(alike, ({ names }) =>
      Math.min(...names.flatMap((a) => group.names.map((b) => trainingDistance(a, b)))),
    );
    if (full === undefined || others.length > 0) return null;
    const reason = (seed: number): string | null =>
      metric.stage === ACCURACY.stage
        ? (reasonOf(group, seed, metric) ?? reasonOf(full, seed, metric))
        : null;
    return { values: valuesBySeed(full, metric), reason };
  };
}

function partnerOf(groups: readonly Group[], against: Against): PartnerOf {
  if (against === 'none') return () => null;
  return against === 'clean' ? cleanPartner : fullPartner(groups);
}

/** Returns how many seeds are behind each number and each difference of these entries. */
export const seedCounts = (entries: readonly Entry[]): number[] =>
  entries.flatMap(({ summary, difference }) => [summary.n, ...(difference ? [difference.n] : [])]);

/** Says how many pairs the differences leave out, and why; null if they leave out none. */
export function excludedText(entries: readonly Entry[]): string | null {
  const excluded = entries.flatMap((entry) => entry.excluded);
  if (excluded.length === 0) return null;
  const pairs = entries.reduce(
    (sum, { difference }) => sum + (difference?.n ?? 0),
    excluded.length,
  );
  return (
    `The differences leave out ${excluded.length} of ${pairs} pairs that are not evidence: ` +
    `a model of the pair ${distinct(excluded).join(' or ')}.`
  );
}

const reasonOf = ({ seeds }: Group, seed: number, metric: Pick<Metric, 'metric'>): string | null =>
  voidReason(seeds.get(seed) ?? { metrics: {} }, metric);

/**
 * Returns the accuracy or success rate of the clean run, as the evaluation of the attacked run
 * recorded it.
 */
function ofCleanRun(group: Group, metric: Metric): Values | null {
  const name = metricName(metric);
  if (name === metricName(ASR)) return valuesBySeed(group, ASR_CLEAN);
  if (name !== metricName(ACCURACY)) return null;
  const accuracy = valuesBySeed(group, metric);
  return new Map(
    [...valuesBySeed(group, DROP)].map(([seed, by]) => [seed, (accuracy.get(seed) ?? NaN) + by]),
  );
}

function differenceOf(
  values: Values,
  partner: Partner | null,
): Pick<Entry, 'difference' | 'excluded'> {
  if (partner === null) return { difference: null, excluded: [] };
  const pairs = [...values].flatMap(([seed, value]) => {
    const other = partner.values.get(seed);
    return other !== undefined && Number.isFinite(other)
      ? [{ value, other, reason: partner.reason(seed) }]
      : [];
  });
  const whole = pairs.filter(({ reason }) => reason === null);
  return {
    difference:
      whole.length === 0
        ? null
        : pairedDifference(
            whole.map(({ value }) => value),
            whole.map(({ other }) => other),
          ),
    excluded: pairs.flatMap(({ reason }) => reason ?? []),
  };
}

/** A group under one of its names. */
interface NamedGroup {
  readonly group: Group;
  readonly cell: JsonObject;
}

type Place = readonly (Json | undefined)[];

/**
 * Returns the places along some axes, in the order in which their values appear, outermost axis
 * first.
 */
function placesAlong(named: readonly NamedGroup[], axes: readonly string[]): readonly Place[] {
  const keyAt = (cell: JsonObject, axis: string): string => contentKey(cell[axis] ?? null);
  const ordered = axes.map((axis) => ({
    axis,
    keys: distinct(named.map(({ cell }) => keyAt(cell, axis))),
  }));
  const places = new Map(
    named.map(({ cell }) => [contentKey(axes.map((axis) => cell[axis] ?? null)), cell]),
  );
  const compare = (a: JsonObject, b: JsonObject): number => {
    for (const { axis, keys } of ordered) {
      const by = keys.indexOf(keyAt(a, axis)) - keys.indexOf(keyAt(b, axis));
      if (by !== 0) return by;
    }
    return 0;
  };
  return [...places.values()].sort(compare).map((cell) => axes.map((axis) => cell[axis]));
}

const keyOf = (values: Place): string => contentKey(values.map((value) => value ?? null));

/** Returns the group at each place, by `keyOf`, or the first clash between two groups. */
function placed(
  named: readonly NamedGroup[],
  axes: readonly string[],
): ReadonlyMap<string, Group> | Clash {
  const byPlace = new Map<string, NamedGroup>();
  for (const one of named) {
    const place = keyOf(axes.map((axis) => one.cell[axis])),
      other = byPlace.get(place);
    if (other !== undefined && other.group !== one.group)
      return {
        clash: distinct([...Object.keys(one.cell), ...Object.keys(other.cell)]).filter(
          (path) => keyOf([one.cell[path]]) !== keyOf([other.cell[path]]),
        ),
      };
    byPlace.set(place, one);
  }
  return new Map([...byPlace].map(([place, { group }]) => [place, group]));
}

/** A row or a column: one of its places, and the names of all of them. */
interface Line {
  readonly at: Place;
  readonly names: PlaceNames;
}

/**
 * Merges rows, or columns, that hold the same cells under several names: α = r and α = 16 are one
 * row at rank 16.
 * @param groupsOf returns the groups of a row or column, in order
 */
function mergeLines(
  places: readonly Place[],
  groupsOf: (place: Place) => readonly (Group | undefined)[],
): readonly Line[] {
  const merged: { groups: readonly (Group | undefined)[]; first: Place; all: Place[] }[] = [];
  for (const place of places) {
    const groups = groupsOf(place),
      same = merged.find((other) => other.groups.every((group, i) => group === groups[i]));
    if (same) same.all.push(place);
    else merged.push({ groups, first: place, all: [place] });
  }
  return merged.map(({ first, all }) => ({
    at: first,
    names: first.map((_, axis) => {
      const values = all.map((place) => place[axis]).filter((value) => value !== undefined);
      return [...new Map(values.map((value) => [keyOf([value]), value])).values()];
    }),
  }));
}

/** Returns the function with its result remembered for each cell and metric. */
function remembered<T>(
  of: (group: Group, metric: Metric) => T,
): (group: Group, metric: Metric) => T {
  const known = new Map<Group, Map<string, T>>();
  return (group, metric) => {
    const own = known.get(group) ?? new Map<string, T>(),
      name = metricName(metric),
      result = own.has(name) ? (own.get(name) as T) : of(group, metric);
    known.set(group, own.set(name, result));
    return result;
  };
}

/**
 * Lays cells out along the axes or, if several cells have the same place, returns the axes that
 * would tell them apart. A cell appears under each of its names: if α is the only axis across,
 * there is a column for α = r and one for α = 16.
 */
export function layOut({ rows, metrics, rowAxes, columnAxes, against }: GridRequest): Grid | Clash {
  const groups = resultCells(rows).map((one): Group => ({
    ...one,
    names: [one.cell, ...(one.also ?? [])],
  }));
  const partner = partnerOf(groups, against);
  const named = groups
    .filter((group) => metrics.some((metric) => valuesBySeed(group, metric).size > 0))
    .flatMap((group) => group.names.map((cell): NamedGroup => ({ group, cell })));
  const byPlace = placed(named, [...rowAxes, ...columnAxes]);
  if ('clash' in byPlace) return byPlace;
  const groupAt = (row: Place, at: Place): Group | undefined => byPlace.get(keyOf([...row, ...at]));
  const everyColumn = placesAlong(named, columnAxes);
  const down = mergeLines(placesAlong(named, rowAxes), (row) =>
    everyColumn.map((at) => groupAt(row, at)),
  );
  const across = mergeLines(everyColumn, (at) => down.map((row) => groupAt(row.at, at)));
  const columns = across.flatMap((line) => metrics.map((metric) => ({ line, metric })));
  const entryOf = remembered((group: Group, metric: Metric): Entry | null => {
    const values = valuesBySeed(group, metric);
    return values.size === 0
      ? null
      : {
          cell: group.cell,
          summary: summarise([...values.values()]),
          values: [...values.values()],
          planned: group.planned,
          reasons: group.reasons.get(metricName(metric)) ?? [],
          ...differenceOf(values, partner(group, metric)),
        };
  });
  const filled = columns
    .map(({ line, metric }) => ({
      line,
      metric,
      entries: down.map((row): Entry | null => {
        const group = groupAt(row.at, line.at);
        return group === undefined ? null : entryOf(group, metric);
      }),
    }))
    .filter(({ entries }) => entries.some((entry) => entry !== null));
  const isCompared = (entry: Entry | null): boolean =>
    entry !== null && (entry.difference !== null || entry.excluded.length > 0);
  return {
    rows: down.map(({ names }) => names),
    columns: filled.map(({ line, metric, entries }) => ({
      at: line.names,
      metric,
      differs: entries.some(isCompared),
    })),
    entries: down.map((_, i) => filled.map(({ entries }) => entries[i] ?? null)),
  };
}

/** A table of a grid. What is written is the same in every form of output. */
export interface GridTable {
  readonly grid: Grid;
  readonly rowAxes: readonly string[];
  readonly columnAxes: readonly string[];
  readonly against: Against;
  /** The name of an axis in the table's head. */
  readonly axisName: (path: string) => string;
  /** What stands beside means. Default: `interval`. */
  readonly spread?: Spread;
  /** Sentences that qualify the numbers: caveats and warnings, unescaped. */
  readonly caveats: readonly string[];
}

/** How a form of output writes the cells of a table. */
export interface GridForm {
  readonly empty: string;
  /** The mark of a number that is not evidence. */
  readonly mark: string;
  readonly isProportion: (metric: Metric) => boolean;
  readonly number: (text: string) => string;
  /** Returns what stands behind a number of `n` seeds; `of` is how many it is expected to have. */
  readonly seeds: (n: number, of: number) => string;
  /** The same behind a difference; `entry` is the number beside it. */
  readonly pairs: (n: number, entry: Entry) => string;
}

/** Returns the cells of each row: the number of each column, and its difference where it has any. */
export const gridCells = (
  { grid, spread = 'interval' }: Pick<GridTable, 'grid' | 'spread'>,
  form: GridForm,
): string[][] =>
  grid.entries.map((entries) =>
    grid.columns.flatMap(({ metric, differs }, k) => {
      const entry = entries[k];
      if (!entry) return differs ? [form.empty, form.empty] : [form.empty];
      const { values, planned, reasons, difference, excluded } = entry,
        isProportion = form.isProportion(metric);
      const number =
        form.number(plainSpread(values, spread, isProportion)) +
        (reasons.length > 0 ? form.mark : '') +
        form.seeds(values.length, planned);
      if (!differs) return [number];
      if (difference === null)
        return [number, `${form.empty}${excluded.length > 0 ? form.pairs(0, entry) : ''}`];
      const by = form.number(plainDifference(difference, isProportion));
      return [number, `${by}${form.pairs(difference.n, entry)}`];
    }),
  );

/** The distinct entries: a cell may have several places. */
export const entriesIn = ({ entries }: Grid): readonly Entry[] =>
  distinct(entries.flat().filter((entry) => entry !== null));

/** Returns the values of a row or column along one axis, such as `r = 16` if it has several names. */
export const valuesText = (
  path: string,
  values: readonly Json[] = [],
  write: (value: Json) => string = plainText,
): string =>
  values
    .map((value) => write(path === 'adapter.type' ? adapterTitle(plainText(value)) : value))
    .join(' = ');
