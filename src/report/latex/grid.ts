/** Results over chosen axes: which cell of an experiment stands where in a table. Pure. */
import type { Json, JsonObject } from '../../api.ts';
import { pairedDifference, summarise } from '../../stats/summary.ts';
import type { PairedDifference, Summary } from '../../stats/summary.ts';
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
  /** Values along `rowAxes`; undefined where a cell has none. */
  readonly rows: readonly (readonly (Json | undefined)[])[];
  /** A metric at the values along `columnAxes`; those without any number are left out. */
  readonly columns: readonly {
    readonly at: readonly (Json | undefined)[];
    readonly metric: Metric;
    readonly differs: boolean;
  }[];
  /** By row and column. */
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

export function groupCells(rows: readonly ResultRow[]): readonly Group[] {
  const groups = new Map<string, Group>();
  for (const row of rows) {
    const key = contentKey(row.cell),
      group = groups.get(key) ?? { cell: row.cell, metrics: new Map(), evaluated: new Map() };
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
    const alike = (other: Group, ...prefixes: readonly string[]): boolean =>
      contentKey(without(other.cell, ...prefixes)) === contentKey(without(cell, ...prefixes));
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

/** In the order in which the axes' values first come, outermost axis first. */
function placesAlong(
  groups: readonly Group[],
  axes: readonly string[],
): readonly (readonly (Json | undefined)[])[] {
  const order = axes.map((axis) =>
    distinct(groups.map(({ cell }) => contentKey(cell[axis] ?? null))),
  );
  const places = new Map(
    groups.map(({ cell }) => [contentKey(axes.map((axis) => cell[axis] ?? null)), cell]),
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

const keyOf = (values: readonly (Json | undefined)[]): string =>
  contentKey(values.map((value) => value ?? null));

export function layOut({ rows, metrics, rowAxes, columnAxes, against }: GridRequest): Grid | Clash {
  const groups = groupCells(rows),
    partner = partnerOf(groups, against);
  const names = new Set(metrics.map(metricName));
  const shown = groups.filter((group) => [...group.metrics.keys()].some((name) => names.has(name)));
  const byPlace = new Map<string, Group>();
  for (const group of shown) {
    const place = keyOf([...rowAxes, ...columnAxes].map((axis) => group.cell[axis])),
      other = byPlace.get(place);
    if (other)
      return {
        clash: distinct([...Object.keys(group.cell), ...Object.keys(other.cell)]).filter(
          (path) => keyOf([group.cell[path]]) !== keyOf([other.cell[path]]),
        ),
      };
    byPlace.set(place, group);
  }
  const down = placesAlong(shown, rowAxes),
    across = placesAlong(shown, columnAxes);
  const columns = across.flatMap((at) => metrics.map((metric) => ({ at, metric })));
  const entries = down.map((row) =>
    columns.map(({ at, metric }): Entry | null => {
      const group = byPlace.get(keyOf([...row, ...at])),
        values = group?.metrics.get(metricName(metric));
      return group === undefined || values === undefined
        ? null
        : {
            cell: group.cell,
            summary: summarise([...values.values()]),
            ...differenceOf(values, partner(group, metric)),
          };
    }),
  );
  const isCompared = (entry: Entry | null | undefined): boolean =>
    entry != null && (entry.difference !== null || entry.excluded.length > 0);
  const used = columns.map((_, i) => entries.some((line) => line[i] !== null));
  return {
    rows: down,
    columns: columns.flatMap((column, i) =>
      used[i] ? [{ ...column, differs: entries.some((line) => isCompared(line[i])) }] : [],
    ),
    entries: entries.map((line) => line.filter((_, i) => used[i])),
  };
}
