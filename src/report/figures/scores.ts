/**
 * Draws a metric by attack and adapter: points for the seeds, a bar for the mean, a line for its
 * interval.
 */
import type { TopLevelSpec } from 'vega-lite';
import {
  type Condition,
  scoreOf,
  type Series,
  seriesOf,
  summaryOf,
  voidReasons,
} from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { distinct } from '../groups.ts';
import { blockLabel } from '../labels.ts';
import { ASR, ASR_CLEAN, type MetricNote } from '../metrics.ts';
import type { Figure } from '../types.ts';
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

interface Row {
  readonly condition: Condition;
  readonly series: Series;
}

/**
 * Returns the points of the seeds, the means with their intervals and, for ASR, the clean model's
 * rate.
 */
function valuesOf(rows: readonly Row[], metric: MetricNote) {
  const place = ({ condition }: Row) => ({
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

function specOf(rows: readonly Row[], metric: MetricNote, palette: Palette): TopLevelSpec {
  const { points, values } = valuesOf(rows, metric);
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
    specOf(shown, metric, adapterPalette(conditions)),
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
