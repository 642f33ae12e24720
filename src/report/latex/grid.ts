/** Results over chosen axes: which cell of an experiment stands where in a table. Pure. */
import type { Json, JsonObject } from '../../api.ts';
import type { PairedDifference, Summary } from '../../stats/summary.ts';
import { pairedDifference, summarise } from '../../stats/summary.ts';
import { contentKey, distinct } from '../conditions.ts';
import { voidReason } from '../evidence.ts';
import { ACCURACY, ASR, ASR_CLEAN, DROP } from '../metrics.ts';
import type { ResultRow } from '../results.ts';
import { metricName } from '../select.ts';

export type Metric = Pick<ResultRow, 'stage' | 'metric'>;
/** What each number is compared with, seed by seed. */
export type Against = 'full' | 'clean' | 'none';

export interface GridRequest {
  readonly rows: readonly ResultRow[];
  readonly metrics: readonly Metric[];
  /** Axes by full path, outermost first. */
  readonly rowAxes: readonly string[];
  readonly columnAxes: readonly string[];
  readonly against: Against;
}

export interface Entry {
  readonly cell: JsonObject;
  readonly summary: Summary;
  /** Null where there is nothing to compare with. */
  readonly difference: PairedDifference | null;
  /** For each seed that has both numbers but is no evidence (evidence.ts), and so is no part of `difference`: why. */
  readonly excluded: readonly string[];
}

export interface Grid {
  /** Values along `rowAxes`: several where all that the row holds has several names, none where a cell has no such axis. */
  readonly rows: readonly (readonly (readonly Json[])[])[];
  /** A metric at the values along `columnAxes`; those without any number are left out. */
  readonly columns: readonly {
    readonly at: readonly (Json | undefined)[];
    readonly metric: Metric;
    readonly differs: boolean;
  }[];
  /** By row and column; one and the same object at each place of a cell whose names stand apart. */
  readonly entries: readonly (readonly (Entry | null)[])[];
}

/** Two cells at one place of the table, and the axes in which they differ. */
export interface Clash {
  readonly clash: readonly string[];
}

type Values = ReadonlyMap<number, number>;

/** A cell over its seeds. */
interface Group {
  readonly cell: JsonObject;
  /** All of the cell's names, `cell` first. */
  readonly names: readonly JsonObject[];
  /** By `metricName`. */
  readonly metrics: Map<string, Map<number, number>>;
  /** By seed: all that the evaluation measured. */
  readonly evaluated: Map<number, { [metric: string]: number }>;
}

/** What a cell's number is compared with, by seed. */
interface Partner {
  readonly values: Values;
  /** Why a seed's pair is no evidence; null where it is. */
  readonly reason: (seed: number) => string | null;
}

function groupCells(rows: readonly ResultRow[]): readonly Group[] {
  const groups = new Map<string, Group>();
  for (const row of rows) {
    const key = contentKey(row.cell),
      group = groups.get(key) ?? {
        cell: row.cell,
        names: [row.cell, ...(row.also ?? [])],
        metrics: new Map(),
        evaluated: new Map(),
      };
    groups.set(key, group);
    const name = metricName(row),
      values = group.metrics.get(name) ?? new Map<number, number>();
    group.metrics.set(name, values.set(row.seed, row.value));
    if (row.stage === ACCURACY.stage)
      group.evaluated.set(row.seed, {
        ...group.evaluated.get(row.seed),
        [row.metric]: row.value,
      });
  }
  return [...groups.values()];
}

const without = (cell: JsonObject, ...prefixes: readonly string[]): JsonObject =>
  Object.fromEntries(
    Object.entries(cell).filter(([path]) => !prefixes.some((prefix) => path.startsWith(prefix))),
  );

/**
 * What a cell's number is compared with. `full`: the full fine-tuning under the same attack and settings, with the same
 * training axes where there are several. `clean`: the paired clean run as the evaluation recorded it, which knows the
 * accuracy and what the trigger does without any poisoning.
 */
function partnerOf(
  groups: readonly Group[],
  against: Against,
): (group: Group, metric: Metric) => Partner | null {
  if (against === 'none') return () => null;
  if (against === 'clean')
    return (group, metric) => {
      const values = ofCleanRun(group, metric);
      // The metric that is this difference: its evidence is asked of both runs.
      const difference =
        metricName(metric) === metricName(ASR) ? { metric: 'asr_minus_clean' } : DROP;
      return values && { values, reason: (seed) => reasonOf(group, seed, difference) };
    };
  const fulls = groups.filter(({ cell }) => cell['adapter.type'] === 'full');
  return (group, metric) => {
    const { cell, metrics } = group;
    if (cell['adapter.type'] === 'full' || !metrics.has(metricName(metric))) return null;
    const alike = (other: Group, ...prefixes: readonly string[]): boolean => {
      const own = new Set(group.names.map((name) => contentKey(without(name, ...prefixes))));
      return other.names.some((name) => own.has(contentKey(without(name, ...prefixes))));
    };
    const same = fulls.filter((full) => alike(full, 'adapter.')),
      found = same.length > 0 ? same : fulls.filter((full) => alike(full, 'adapter.', 'train.'));
    const values = found.length === 1 ? found[0]!.metrics.get(metricName(metric)) : undefined;
    return values === undefined
      ? null
      : {
          values,
          reason: (seed) =>
            metric.stage === ACCURACY.stage
              ? (reasonOf(group, seed, metric) ?? reasonOf(found[0]!, seed, metric))
              : null,
        };
  };
}

const reasonOf = (
  { evaluated }: Group,
  seed: number,
  metric: Pick<Metric, 'metric'>,
): string | null => voidReason({ metrics: { evaluate: evaluated.get(seed) ?? {} } }, metric);

/** Accuracy and success rate of the paired clean run, as the evaluation of the attacked one recorded them. */
function ofCleanRun({ metrics }: Group, metric: Metric): Values | null {
  const name = metricName(metric);
  if (name === metricName(ASR)) return metrics.get(metricName(ASR_CLEAN)) ?? null;
  if (name !== metricName(ACCURACY)) return null;
  const accuracy = metrics.get(name),
    drop = metrics.get(metricName(DROP));
  return accuracy === undefined || drop === undefined
    ? null
    : new Map([...drop].map(([seed, by]) => [seed, (accuracy.get(seed) ?? NaN) + by]));
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

/** One of a group's names. */
interface NamedGroup {
  readonly group: Group;
  readonly cell: JsonObject;
}

type Place = readonly (Json | undefined)[];

/** In the order in which the axes' values first come, outermost axis first. */
function placesAlong(named: readonly NamedGroup[], axes: readonly string[]): readonly Place[] {
  const order = axes.map((axis) =>
    distinct(named.map(({ cell }) => contentKey(cell[axis] ?? null))),
  );
  const places = new Map(
    named.map(({ cell }) => [contentKey(axes.map((axis) => cell[axis] ?? null)), cell]),
  );
  const rank = (cell: JsonObject): number[] =>
    axes.map((axis, i) => order[i]!.indexOf(contentKey(cell[axis] ?? null)));
  return [...places.values()]
    .map((cell) => ({ cell, at: rank(cell) }))
    .sort((a, b) => {
      const i = a.at.findIndex((n, k) => n !== b.at[k]);
      return i < 0 ? 0 : a.at[i]! - b.at[i]!;
    })
    .map(({ cell }) => axes.map((axis) => cell[axis]));
}

const keyOf = (values: Place): string => contentKey(values.map((value) => value ?? null));

/** What stands at each place, by `keyOf`; the first two cells that would stand at one. */
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

/** Rows that hold the same cells, which the row axes name in several ways, are one. */
function mergeRows(
  down: readonly Place[],
  groupsOf: (row: Place) => readonly (Group | undefined)[],
): readonly { readonly names: readonly (readonly Json[])[]; readonly at: Place }[] {
  const merged: { groups: readonly (Group | undefined)[]; rows: Place[] }[] = [];
  for (const row of down) {
    const groups = groupsOf(row),
      same = merged.find((other) => other.groups.every((group, i) => group === groups[i]));
    if (same) same.rows.push(row);
    else merged.push({ groups, rows: [row] });
  }
  return merged.map(({ rows }) => ({
    at: rows[0]!,
    names: rows[0]!.map((_, k) => {
      const values = rows.flatMap((row) => row[k] ?? []);
      return values.filter(
        (value, i) => values.findIndex((v) => keyOf([v]) === keyOf([value])) === i,
      );
    }),
  }));
}

/** A cell stands under each of its names: a table with an axis across has a place for α = r and one for α = 16. */
export function layOut({ rows, metrics, rowAxes, columnAxes, against }: GridRequest): Grid | Clash {
  const groups = groupCells(rows),
    partner = partnerOf(groups, against);
  const wanted = new Set(metrics.map(metricName));
  const named = groups
    .filter((group) => [...group.metrics.keys()].some((name) => wanted.has(name)))
    .flatMap((group) => group.names.map((cell): NamedGroup => ({ group, cell })));
  const byPlace = placed(named, [...rowAxes, ...columnAxes]);
  if ('clash' in byPlace) return byPlace;
  const across = placesAlong(named, columnAxes);
  const groupAt = (row: Place, at: Place): Group | undefined => byPlace.get(keyOf([...row, ...at]));
  const down = mergeRows(placesAlong(named, rowAxes), (row) =>
    across.map((at) => groupAt(row, at)),
  );
  const columns = across.flatMap((at) => metrics.map((metric) => ({ at, metric })));
  const known = new Map<Map<number, number>, Entry>();
  const entryOf = (group: Group, metric: Metric): Entry | null => {
    const values = group.metrics.get(metricName(metric));
    if (values === undefined) return null;
    const entry = known.get(values) ?? {
      cell: group.cell,
      summary: summarise([...values.values()]),
      ...differenceOf(values, partner(group, metric)),
    };
    known.set(values, entry);
    return entry;
  };
  const entries = down.map((row) =>
    columns.map(({ at, metric }): Entry | null => {
      const group = groupAt(row.at, at);
      return group === undefined ? null : entryOf(group, metric);
    }),
  );
  const isCompared = (entry: Entry | null): boolean =>
    entry !== null && (entry.difference !== null || entry.excluded.length > 0);
  const used = columns.map((_, i) => entries.some((line) => line[i] !== null));
  return {
    rows: down.map(({ names }) => names),
    columns: columns.flatMap((column, i) =>
      used[i] ? [{ ...column, differs: entries.some((line) => isCompared(line[i]!)) }] : [],
    ),
    entries: entries.map((line) => line.filter((_, i) => used[i])),
  };
}
