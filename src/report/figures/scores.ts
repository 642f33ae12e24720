/**
 * Draws a metric by attack and adapter, and the paired differences, adapter − full, that answer the
 * report's question: points for the seeds, a bar for the mean, a line for its interval.
 */
import type { TopLevelSpec } from 'vega-lite';
import type { AdapterComparison } from '../comparisons.ts';
import {
  type Condition,
  isFull,
  scoreOf,
  type Series,
  seriesOf,
  summaryOf,
  voidReasons,
} from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { distinct } from '../groups.ts';
import { blockLabel } from '../labels.ts';
import { ACCURACY, ASR, ASR_CLEAN, DROP, type MetricNote } from '../metrics.ts';
import type { Figure } from '../types.ts';
import { PROPORTION_MARGIN } from '../verdict.ts';
import {
  adapterColour,
  adapterShape,
  drawFigure,
  firstOf,
  HOLLOW,
  hollowNote,
  inBlocks,
  intervalLayer,
  leftOut,
  LINE,
  lineOf,
  MEAN,
  nominal,
  onlyPart,
  quantitative,
  seedPoint,
} from './encode.ts';
import { adapterPalette, MUTED, type Palette } from './theme.ts';

/** The most rows that fit on a screen. The others are in the table and the curves. */
const MOST_ROWS = 40;

interface ScoreRow {
  readonly condition: Condition;
  readonly series: Series;
}

/**
 * Returns the points of the seeds, the means with their intervals and, for ASR, the clean model's
 * rate.
 */
function scoreValues(rows: readonly ScoreRow[], metric: MetricNote) {
  const place = ({ condition }: ScoreRow) => ({
    block: blockLabel(condition),
    adapter: condition.adapterLabel,
  });
  const points = rows.flatMap((row) =>
    row.series.values.map(({ seed, value }) => ({
      ...place(row),
      seed,
      value,
      isVoid: voidReasons(row.condition, metric).has(seed),
      part: 'seed',
    })),
  );
  const means = rows.flatMap((row) => {
    const { summary } = row.series;
    if (summary === null) return [];
    return [{ ...place(row), mean: summary.mean, ...lineOf(summary), part: 'mean' }];
  });
  const clean =
    metric === ASR
      ? rows.flatMap((row) => {
          const mean = summaryOf(row.condition, ASR_CLEAN)?.mean;
          return mean === undefined ? [] : [{ ...place(row), mean, part: 'clean' }];
        })
      : [];
  return { points, values: [...points, ...means, ...clean] };
}

function scoresSpec(rows: readonly ScoreRow[], metric: MetricNote, palette: Palette): TopLevelSpec {
  const { points, values } = scoreValues(rows, metric);
  const least = Math.min(...points.map(({ value }) => value));
  // The axis starts at 0 for ASR, and at a round tenth below every point for other metrics.
  const low = metric === ASR ? 0 : Math.max(0, Math.floor((least - 0.03) * 10) / 10);
  const x = (field: string) =>
    quantitative(field, metric.label, { scale: { domain: [low, 1], zero: false } });
  const adapters = palette.domain.filter((name) =>
    rows.some(({ condition }) => condition.adapterLabel === name),
  );
  const y = nominal('adapter', { sort: adapters });
  const color = { ...adapterColour(palette), legend: null };
  return inBlocks(distinct(rows.map(({ condition }) => blockLabel(condition))), values, [
    intervalLayer(x('low'), y, color),
    {
      transform: onlyPart('clean'),
      mark: { type: 'tick', thickness: 2, size: 18, color: MUTED, clip: true },
      encoding: { x: x('mean'), y },
    },
    {
      transform: onlyPart('mean'),
      mark: { ...MEAN, clip: true },
      encoding: { x: x('mean'), y, color },
    },
    {
      transform: onlyPart('seed'),
      mark: seedPoint(60, { strokeWidth: 0.6, opacity: 0.9 }),
      encoding: { x: x('value'), y, color, fillOpacity: HOLLOW, shape: adapterShape(palette) },
    },
  ]);
}

/** Draws a metric of every condition that has it. Returns null if none has. */
export async function scoreFigure(
  metric: MetricNote,
  conditions: readonly Condition[],
): Promise<Figure | null> {
  const having = conditions
    .map((condition) => ({ condition, series: seriesOf(condition, scoreOf(metric)) }))
    .filter(({ series }) => series.summary !== null);
  const { shown, left } = firstOf(having, MOST_ROWS);
  if (shown.length === 0) return null;
  const caption = [
    'Points are seeds, the coloured bar is their mean, the line its ',
    `${LINE}, cut at the ends of the axis.`,
    metric === ASR ? ' The grey bar is what the trigger does to the paired clean model.' : '',
    hollowNote(shown.map(({ condition }) => ({ condition, metric }))),
    leftOut(left, 'condition'),
  ];
  return drawFigure(
    {
      id: `scores-${metric.metric.replaceAll('_', '-')}`,
      title: `${metric.label} by attack and adapter`,
    },
    caption,
    scoresSpec(shown, metric, adapterPalette(conditions)),
    toCsv(
      shown.flatMap(({ condition, series }) =>
        series.values.map(({ seed, value }) => ({
          attack: condition.attackLabel,
          adapter: condition.adapterLabel,
          setting: condition.setting,
          seed,
          [metric.metric]: value,
          not_evidence: voidReasons(condition, metric).get(seed) ?? '',
        })),
      ),
    ),
  );
}

const MOST_DIFFERENCES = 36;

/** Whether a comparison is drawn: accuracy without attack, the drop under one, a backdoor's ASR. */
const isHeadline = ({ metric, adapter }: AdapterComparison): boolean =>
  metric === (adapter.family === 'none' ? ACCURACY : DROP) ||
  (metric === ASR && adapter.family === 'backdoor');

interface DifferenceRow {
  readonly comparison: AdapterComparison;
  readonly block: string;
  readonly name: string;
}

function differenceRows(
  comparisons: readonly AdapterComparison[],
  conditions: readonly Condition[],
): readonly DifferenceRow[] {
  const fulls = distinct(conditions.filter(isFull).map(({ adapterLabel }) => adapterLabel));
  return comparisons.map((comparison) => {
    const { metric, adapter, full } = comparison;
    return {
      comparison,
      block: `${metric.label} · ${blockLabel(adapter)}`,
      name:
        fulls.length > 1 ? `${adapter.adapterLabel} − ${full.adapterLabel}` : adapter.adapterLabel,
    };
  });
}

const seedDifferences = ({ seeds, a, b }: AdapterComparison) =>
  seeds.map((seed, i) => {
    const of = a[i] ?? NaN,
      full = b[i] ?? NaN;
    return { seed, of, full, difference: of - full };
  });

function differenceValues(rows: readonly DifferenceRow[]) {
  return rows.flatMap(({ comparison, block, name }) => {
    const place = { block, row: name, adapter: comparison.adapter.adapterLabel };
    const { difference } = comparison;
    const mean = difference
      ? [{ ...place, part: 'mean', seed: null, value: difference.mean, ...lineOf(difference) }]
      : [];
    const seeds = seedDifferences(comparison).map(({ seed, difference: value }) => ({
      ...place,
      part: 'seed',
      seed,
      value,
      low: null,
      high: null,
    }));
    return [...mean, ...seeds];
  });
}

function differencesSpec(
  rows: readonly DifferenceRow[],
  values: ReturnType<typeof differenceValues>,
  reach: number,
  palette: Palette,
): TopLevelSpec {
  const x = (field: string) =>
    quantitative(field, 'difference, adapter − full', {
      scale: { domain: [-reach, reach], nice: false },
    });
  const y = nominal('row', { sort: distinct(rows.map(({ name }) => name)) });
  const color = { ...adapterColour(palette), legend: null };
  return inBlocks(distinct(rows.map(({ block }) => block)), values, [
    {
      data: { values: [{}] },
      mark: { type: 'rect', color: '#dfe4ea' },
      encoding: { x: { datum: -PROPORTION_MARGIN }, x2: { datum: PROPORTION_MARGIN } },
    },
    {
      data: { values: [{}] },
      mark: { type: 'rule', color: '#9aa5b1' },
      encoding: { x: { datum: 0 } },
    },
    intervalLayer(x('low'), y, color),
    { transform: onlyPart('mean'), mark: MEAN, encoding: { x: x('value'), y, color } },
    {
      transform: onlyPart('seed'),
      mark: seedPoint(55, { strokeWidth: 0.6, opacity: 0.9 }),
      encoding: { x: x('value'), y, color, shape: adapterShape(palette) },
    },
  ]);
}

/** Draws the comparisons that answer the question. Returns null if there are none. */
export async function forestFigure(
  comparisons: readonly AdapterComparison[],
  conditions: readonly Condition[],
): Promise<Figure | null> {
  const asked = comparisons.filter(
    (comparison) => isHeadline(comparison) && comparison.difference !== null,
  );
  const { shown, left } = firstOf(asked, MOST_DIFFERENCES);
  if (shown.length === 0) return null;
  const rows = differenceRows(shown, conditions);
  const values = differenceValues(rows);
  const reach = Math.max(0.05, ...values.map(({ value }) => Math.abs(value))) * 1.35;
  const isCut = values.some(({ low, high }) =>
    [low, high].some((end) => Math.abs(end ?? 0) > reach),
  );
  const caption = [
    'Points are seeds, the bar is their mean, the line its paired ',
    `${LINE} before Holm’s correction`,
    isCut ? ', cut where it runs past the axis (the table has its ends)' : '',
    `. The grey band is the declared margin of ±${PROPORTION_MARGIN}. `,
    'Right of zero in accuracy drop or ASR: the adapter is hurt more.',
    leftOut(left, 'comparison'),
  ];
  return drawFigure(
    { id: 'differences', title: 'Paired differences, adapter − full fine-tuning' },
    caption,
    differencesSpec(rows, values, reach, adapterPalette(conditions)),
    toCsv(
      shown.flatMap((comparison) =>
        seedDifferences(comparison).map(({ seed, of, full, difference }) => ({
          metric: comparison.metric.metric,
          attack: comparison.adapter.attackLabel,
          setting: comparison.adapter.setting,
          adapter: comparison.adapter.adapterLabel,
          full: comparison.full.adapterLabel,
          seed,
          adapter_value: of,
          full_value: full,
          difference,
        })),
      ),
    ),
  );
}
