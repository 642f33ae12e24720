/**
 * Formats results as tables for people: with a column or a line for each metric. Prints nothing.
 */
import path from 'node:path';
import { shortNames } from '../api/cell.ts';
import { canonical } from '../base/canonical.ts';
import { summarise } from '../base/stats.ts';
import { tellingAxes } from '../plan/label.ts';
import { type Against, compareCells, isCompared, TEST_HEAD, testText } from '../report/against.ts';
import { type Caveat, caveatGroups, caveatsOf, caveatText } from '../report/caveats.ts';
import { DAGGER, FEWER_ROWS } from '../report/evidence.ts';
import { DEFENCE, NO_DEFENCE, withBasesNamed } from '../report/labels.ts';
import { distinctMetrics } from '../report/metric-lookup.ts';
import {
  ACCURACY,
  ASR,
  ASR_CLEAN,
  ASR_UNTRIGGERED,
  DROP,
  isPValue,
  type Metric,
  metricName,
  METRICS,
  REJECTED,
  REWARD_ACCURACY,
  UNDECIDED,
} from '../report/metrics.ts';
import {
  plainDifference,
  plainPair,
  plainSpread,
  plainValue,
  type Spread,
} from '../report/numbers.ts';
import {
  axesByName,
  type ResultCell,
  resultCells,
  type ResultRow,
  seedsNote,
  valuesBySeed,
} from '../report/results.ts';
import type { Results } from '../run/facts.ts';
import { table } from './terminal.ts';

type Scored = Metric & Pick<ResultRow, 'task'>;

const FIRST: readonly Metric[] = [
  REWARD_ACCURACY,
  ACCURACY,
  REJECTED,
  DROP,
  ASR,
  ASR_UNTRIGGERED,
  ASR_CLEAN,
  UNDECIDED,
];
/** The most metrics that each have a column. With more, each has a line instead. */
export const MOST_COLUMNS = 8;

/**
 * Returns the rows' metrics by which named data sets are scored, except those on test rows,
 * followed by those wanted metrics that the rows have.
 */
export function firstOf(rows: readonly Scored[], wanted: readonly Metric[]): readonly Metric[] {
  const isScore = ({ task, metric }: Scored): boolean =>
    task !== undefined && !metric.startsWith('test_');
  const scores = rowsOf(distinctMetrics(rows), rows.filter(isScore));
  return distinctMetrics([...scores, ...rowsOf(wanted, rows)]);
}

/**
 * Returns the metrics that are shown by default; all metrics of the rows, if they have none of
 * these.
 */
export function firstMetrics(rows: readonly Scored[]): readonly Metric[] {
  const first = firstOf(rows, FIRST);
  return first.length > 0 ? first : distinctMetrics(rows);
}

/** Returns the rows that have one of the metrics. */
export function rowsOf<Row extends Metric>(
  rows: readonly Row[],
  metrics: readonly Metric[],
): readonly Row[] {
  const names = new Set(metrics.map(metricName));
  return rows.filter((row) => names.has(metricName(row)));
}

/** Returns, for each file whose numbers are left out, why they are. */
export const leftOut = ({ damaged, refused }: Pick<Results, 'damaged' | 'refused'>): string[] => [
  ...damaged.map((file) => `${file} is not what was stored; left out (dosimeter verify)`),
  ...refused.map(
    ({ file, fault }) =>
      `${file} ${fault}; an earlier version stored it; ` +
      `left out (delete ${path.dirname(file)} and run that stage again)`,
  ),
];

type Named = Pick<ResultRow, 'cell' | 'also'>;

/** Returns a value as text: a text as it is, another value as JSON, undefined as ''. */
export const valueText = (value: unknown): string =>
  value === undefined ? '' : typeof value === 'string' ? value : canonical(value);

/**
 * Returns a row's value on an axis as text, such as `4`. If its cell has several names, their
 * different values are joined by `equals`, such as `r = 16`.
 */
export const axisText = (row: Named, path: string, equals = ' = '): string =>
  [...new Set(axesByName(row).map((cell) => valueText(cell[path])))]
    .filter((value) => value !== '')
    .join(equals);

function tableAxes(rows: readonly Named[]) {
  const paths = tellingAxes(rows.flatMap(axesByName));
  const short = shortNames(paths);
  return paths.map((path) => ({ path, name: short.get(path) ?? path }));
}

/**
 * Returns a row's text on each axis: '' if the row has no value there, `NO_DEFENCE` on the axis of
 * the defence. The attack's text also names the attacks on those bases that have no axis here.
 */
function axisTexts(row: Named, axes: ReturnType<typeof tableAxes>, equals = ' = '): string[] {
  const paths = axes.map(({ path }) => path);
  const [cell = {}, ...also] = axesByName(row).map((name) => withBasesNamed(name, paths));
  return paths.map(
    (path) => axisText({ cell, also }, path, equals) || (path === DEFENCE ? NO_DEFENCE : ''),
  );
}

/** Returns the caveats about the numbers, as on the report's first screen. */
export function caveatsIn(rows: readonly ResultRow[]): readonly Caveat[] {
  const axes = tableAxes(rows);
  const label = (row: Named): string => {
    const values = axisTexts(row, axes, '=');
    const named = axes.map(({ name }, i) =>
      ['', NO_DEFENCE].includes(values[i] ?? '') ? values[i] : `${name}=${values[i]}`,
    );
    const known = named.filter(Boolean);
    return known.length === 0 && axes.length > 0 ? 'a cell without these fields' : known.join(' ');
  };
  return caveatsOf(caveatGroups(rows, (cell, also) => label({ cell, also })));
}

export const caveatLines = (rows: readonly ResultRow[]): string[] =>
  caveatsIn(rows).map(caveatText);

/**
 * The names of the metrics that are proportions. They are compared by name without the stage: along
 * a training, accuracy is a metric of the stage train.
 */
const proportions = new Set(
  METRICS.filter(({ kind }) => kind === 'proportion').map(({ metric }) => metric),
);

/** Whether a metric is a proportion. A further scorer's rate, `asr.refusal`, is one like `asr`. */
const isProportion = ({ metric }: Metric): boolean => proportions.has(metric.replace(/\..*/, ''));

const NOTHING = '–';

/** Returns the marks of a number that is not evidence at some seed, or is on fewer rows. */
const marksOf = ({ reasons, fewerRows }: ResultCell, metric: Metric): string =>
  (reasons.has(metricName(metric)) ? ` ${DAGGER}` : '') +
  (fewerRows.has(metricName(metric)) ? ` ${FEWER_ROWS}` : '');

const metricLabel = (one: Metric, metrics: readonly Metric[]): string =>
  metrics.some((other) => other !== one && other.metric === one.metric)
    ? metricName(one)
    : one.metric;

/**
 * Returns a table with a line for each cell and a column for each metric. `†` marks numbers that
 * are not evidence. A mean of p-values has no spread beside it.
 */
export function cellTable(
  rows: readonly ResultRow[],
  metrics: readonly Metric[],
  width: number,
  spread: Spread,
): string {
  const axes = tableAxes(rows);
  return table(
    [
      [
        ...axes.map(({ name }) => name),
        'n',
        ...metrics.map((metric) => metricLabel(metric, metrics)),
      ],
      ...resultCells(rows).map((cell) => [
        ...axisTexts(cell, axes),
        seedCount(cell.seeds.size, cell.planned),
        ...metrics.map((metric) => {
          const found = [...valuesBySeed(cell, metric).values()];
          if (found.length === 0) return NOTHING;
          const summary = isPValue(metric)
            ? plainValue(summarise(found).mean)
            : plainSpread(found, spread, isProportion(metric));
          return `${summary}${marksOf(cell, metric)}${seedsNote(found.length, cell.seeds.size)}`;
        }),
      ]),
    ],
    { width, names: axes.length + 1, nothing: NOTHING },
  );
}

const seedCount = (n: number, planned: number): string =>
  n < planned ? `${n} of ${planned}` : String(n);

/** Returns both values of two seeds if they differ; otherwise `half`, half of the interval. */
const spreadText = (values: readonly number[], half: number): string =>
  values.length === 2 && half > 0
    ? `(${plainPair(Math.min(...values), Math.max(...values))})`
    : plainValue(half);

/**
 * Returns a line for each cell and metric, with half of the mean's 95% interval or, for two seeds,
 * both values. A mean of p-values has neither, and no standard deviation.
 */
export function metricTable(rows: readonly ResultRow[], width: number): string {
  const axes = tableAxes(rows);
  const metrics = distinctMetrics(rows);
  return table(
    [
      [...axes.map(({ name }) => name), 'stage', 'metric', 'mean', 'std', '±', 'n'],
      ...resultCells(rows).flatMap((cell) =>
        metrics.flatMap((metric) => {
          const found = [...valuesBySeed(cell, metric).values()];
          if (found.length === 0) return [];
          const { mean, std, high, n } = summarise(found),
            isSpread = std !== null && high !== null && !isPValue(metric);
          return [
            [
              ...axisTexts(cell, axes),
              metric.stage,
              metric.metric,
              `${plainValue(mean)}${marksOf(cell, metric)}`,
              isSpread ? plainValue(std) : '',
              isSpread ? spreadText(found, high - mean) : '',
              seedCount(n, cell.planned),
            ],
          ];
        }),
      ),
    ],
    { width, names: axes.length + 2 },
  );
}

/**
 * Returns as `text` a table with a line for each number that is compared, null if none is.
 * `tested`: whether a number has a p-value.
 */
export function differences(
  rows: readonly ResultRow[],
  metrics: readonly Metric[],
  against: Exclude<Against, 'none'>,
  width: number,
): { readonly text: string | null; readonly tested: boolean } {
  const axes = tableAxes(rows),
    cells = resultCells(rows);
  const comparedWith = compareCells(cells, metrics, against);
  const compared = cells.flatMap((cell) =>
    metrics
      .map((metric) => ({ cell, metric, found: comparedWith(cell, metric) }))
      .filter(({ found }) => isCompared(found)),
  );
  const tested = compared.some(({ found }) => found.p !== null);
  const head = ['metric', `− ${against}`, ...(tested ? [TEST_HEAD] : []), 'pairs'];
  const body = compared.map(({ cell, metric, found }) => [
    ...axisTexts(cell, axes),
    metricLabel(metric, metrics),
    found.difference === null ? NOTHING : plainDifference(found.difference, isProportion(metric)),
    ...(tested ? [testText(found) ?? ''] : []),
    pairsText(found.difference?.n ?? 0, found.excluded.length),
  ]);
  const text = table([[...axes.map(({ name }) => name), ...head], ...body], {
    width,
    names: axes.length + 1,
  });
  return { text: body.length === 0 ? null : text, tested };
}

/** Returns the number of pairs and of what has no pair: `2 (1 excluded, 1 of one side only)`. */
export function pairsText(pairs: number, excluded: number, unpaired = 0): string {
  const rest = [
    ...(excluded > 0 ? [`${excluded} excluded`] : []),
    ...(unpaired > 0 ? [`${unpaired} of one side only`] : []),
  ];
  return rest.length === 0 ? String(pairs) : `${pairs} (${rest.join(', ')})`;
}
