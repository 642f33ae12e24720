/** Results as tables for people: a column each metric, or a line. Pure but for the terminal's width, which is handed over. */
import path from 'node:path';
import type { JsonObject } from '../api.ts';
import type { Results } from '../engine/facts.ts';
import { canonical } from '../plan/canonical.ts';
import { shortNames, tellingAxes } from '../plan/label.ts';
import { caveatGroups, caveatsOf, oneClassCells } from '../report/caveats.ts';
import { ACCURACY, ASR, ASR_CLEAN, DROP, METRICS } from '../report/metrics.ts';
import { plainSummary, plainValue } from '../report/numbers.ts';
import type { ResultRow } from '../report/results.ts';
import { metricName, metricsIn } from '../report/select.ts';
import { summarise } from '../stats/summary.ts';
import { table } from './terminal.ts';

export type Metric = Pick<ResultRow, 'stage' | 'metric'>;

/** What is asked first of an experiment. */
const FIRST: readonly Metric[] = [
  ACCURACY,
  DROP,
  ASR,
  { stage: 'evaluate', metric: 'asr_untriggered' },
  ASR_CLEAN,
];
/** A table has a column each of so many metrics at most; of more, each has a line. */
export const MOST_COLUMNS = 8;

/** Of what there is, what is shown unless more is asked for; everything where there is nothing of the kind. */
export function firstMetrics(rows: readonly ResultRow[]): readonly Metric[] {
  const every = metricsIn(rows);
  const first = FIRST.flatMap(
    (one) => every.find((known) => metricName(known) === metricName(one)) ?? [],
  );
  return first.length > 0 ? first : every;
}

export const rowsOf = (rows: readonly ResultRow[], metrics: readonly Metric[]): ResultRow[] => {
  const names = new Set(metrics.map(metricName));
  return rows.filter((row) => names.has(metricName(row)));
};

/** What is said of each file whose numbers are left out. */
export const leftOut = ({ damaged, refused }: Pick<Results, 'damaged' | 'refused'>): string[] => [
  ...damaged.map((file) => `${file} is not what was stored; left out (dosimeter verify)`),
  ...refused.map(
    ({ file, fault }) =>
      `${file} ${fault}; an earlier version stored it; left out (delete ${path.dirname(file)} and run that stage again)`,
  ),
];

type Named = Pick<ResultRow, 'cell' | 'also'>;

/** Axis values of all names of each cell. */
export const namesOf = (rows: readonly Named[]): JsonObject[] =>
  rows.flatMap(({ cell, also = [] }) => [cell, ...also]);

const valueText = (value: unknown): string =>
  value === undefined ? '' : typeof value === 'string' ? value : canonical(value);

/** `r = 16` where the names of one cell differ. */
export const axisText = (row: Named, path: string, equals = ' = '): string =>
  [...new Set(namesOf([row]).map((cell) => valueText(cell[path])))]
    .filter((value) => value !== '')
    .join(equals);

/** What must be said before the numbers are read, as on the report's first screen; † is the tables' mark. */
export function caveatLines(rows: readonly ResultRow[]): string[] {
  const paths = tellingAxes(namesOf(rows)),
    short = shortNames(paths);
  const label = (row: Named): string =>
    paths
      .map((path) => [short.get(path)!, axisText(row, path, '=')])
      .filter(([, value]) => value !== '')
      .map((part) => part.join('='))
      .join(' ') || 'every cell';
  return caveatsOf(caveatGroups(rows, (cell, also) => label({ cell, also }))).map(
    ({ id, title, text }) => `${id === 'one-class' ? '† ' : ''}${title}. ${text}`,
  );
}

/** A cell over its seeds. */
interface Group extends Named {
  readonly seeds: Set<number>;
  /** By `metricName`. */
  readonly values: Map<string, number[]>;
}

/** In the order of the rows. */
function groupsOf(rows: readonly ResultRow[]): readonly Group[] {
  const groups = new Map<string, Group>();
  for (const row of rows) {
    const name = canonical(row.cell);
    const group = groups.get(name) ?? {
      cell: row.cell,
      ...(row.also === undefined ? {} : { also: row.also }),
      seeds: new Set<number>(),
      values: new Map<string, number[]>(),
    };
    groups.set(name, group);
    group.seeds.add(row.seed);
    const metric = metricName(row),
      values = group.values.get(metric);
    if (values) values.push(row.value);
    else group.values.set(metric, [row.value]);
  }
  return [...groups.values()];
}

/** By name alone: the looks at a training share the names of its evaluation. */
const proportions = new Set(
  METRICS.filter(({ kind }) => kind === 'proportion').map(({ metric }) => metric),
);

const NOTHING = '–';

/** A line for each cell, a column for each metric; `†` where a model of the cell predicts one class only. */
export function beside(
  rows: readonly ResultRow[],
  metrics: readonly Metric[],
  width: number,
): string {
  const paths = tellingAxes(namesOf(rows)),
    short = shortNames(paths),
    oneClass = oneClassCells(rows);
  const evaluated = metrics.find(({ stage }) => stage === 'evaluate');
  const label = (one: Metric): string =>
    metrics.some((other) => other !== one && other.metric === one.metric)
      ? metricName(one)
      : one.metric;
  return table(
    [
      [...paths.map((path) => short.get(path)!), 'n', ...metrics.map(label)],
      ...groupsOf(rows).map((group) => [
        ...paths.map((path) => axisText(group, path)),
        String(group.seeds.size),
        ...metrics.map((metric) => {
          const found = group.values.get(metricName(metric));
          if (found === undefined) return NOTHING;
          const summary = plainSummary(summarise(found), proportions.has(metric.metric));
          const mark = metric === evaluated && oneClass(group.cell) > 0 ? ' †' : '';
          return `${summary}${mark}${found.length === group.seeds.size ? '' : ` (n = ${found.length})`}`;
        }),
      ]),
    ],
    { width, names: paths.length + 1, nothing: NOTHING },
  );
}

/** A line for each cell and metric. */
export function lines(rows: readonly ResultRow[], width: number): string {
  const paths = tellingAxes(namesOf(rows)),
    short = shortNames(paths);
  const metrics = metricsIn(rows);
  return table(
    [
      [...paths.map((path) => short.get(path)!), 'stage', 'metric', 'mean', 'std', '±', 'n'],
      ...groupsOf(rows).flatMap((group) =>
        metrics.flatMap((metric) => {
          const found = group.values.get(metricName(metric));
          if (found === undefined) return [];
          const { mean, std, high, n } = summarise(found);
          return [
            [
              ...paths.map((path) => axisText(group, path)),
              metric.stage,
              metric.metric,
              plainValue(mean),
              std === null ? '' : plainValue(std),
              high === null ? '' : plainValue(high - mean),
              String(n),
            ],
          ];
        }),
      ),
    ],
    { width, names: paths.length + 2 },
  );
}
