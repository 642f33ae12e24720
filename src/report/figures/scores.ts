/** A metric by attack and adapter: every seed a point, the mean a bar, its 95% t-interval a line. */
import type { TopLevelSpec } from 'vega-lite';
import { blockLabel, type Condition, distinct, metricOf, seriesOf } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { predictsOneClass } from '../evidence.ts';
import { ASR, ASR_CLEAN, type MetricNote } from '../metrics.ts';
import type { Figure } from '../types.ts';
import { draw } from './svg.ts';
import { adapterPalette, BLOCK_HEADER, BLOCK_SPACING, INK, MUTED, type Palette } from './theme.ts';

/** More rows than a screen holds are for the table and the curves. */
const MOST_ROWS = 40;

/** [low, 1] with the low end a round tenth below every point. */
function domain(values: readonly number[], fromZero: boolean): [number, number] {
  const low = fromZero ? 0 : Math.max(0, Math.floor((Math.min(...values) - 0.03) * 10) / 10);
  return [low, 1];
}

export async function scoreFigure(
  metric: MetricNote,
  conditions: readonly Condition[],
  palette: Palette = adapterPalette(conditions),
): Promise<Figure | null> {
  const quantity = metricOf(metric.stage, metric.metric);
  const having = conditions
    .map((condition) => ({ condition, series: seriesOf(condition, quantity) }))
    .filter(({ series }) => series.summary !== null);
  const shown = having.slice(0, MOST_ROWS);
  if (shown.length === 0) return null;
  const points = shown.flatMap(({ condition, series }) =>
    series.values.map(({ seed, value }) => ({
      block: blockLabel(condition),
      adapter: condition.adapterLabel,
      seed,
      value,
      oneClass: oneClassSeeds(condition).has(seed),
    })),
  );
  const means = shown.map(({ condition, series }) => ({
    block: blockLabel(condition),
    adapter: condition.adapterLabel,
    mean: series.summary!.mean,
    low: series.summary!.low,
    high: series.summary!.high,
  }));
  const withClean = metric === ASR;
  const clean = withClean
    ? shown.flatMap(({ condition }) => {
        const mean = seriesOf(condition, metricOf(ASR_CLEAN.stage, ASR_CLEAN.metric)).summary?.mean;
        return mean === undefined
          ? []
          : [{ block: blockLabel(condition), adapter: condition.adapterLabel, mean }];
      })
    : [];
  const adapters = palette.domain.filter((name) =>
    shown.some(({ condition }) => condition.adapterLabel === name),
  );
  const x = (field: string) => ({
    field,
    type: 'quantitative' as const,
    title: metric.label,
    scale: {
      domain: domain(
        points.map(({ value }) => value),
        withClean,
      ),
      zero: false,
    },
  });
  const y = { field: 'adapter', type: 'nominal' as const, title: null, sort: adapters };
  const color = {
    field: 'adapter',
    type: 'nominal' as const,
    scale: { domain: palette.domain as string[], range: palette.range as string[] },
    legend: null,
  };
  const spec: TopLevelSpec = {
    data: {
      values: [
        ...points.map((row) => ({ ...row, part: 'seed' })),
        ...means.map((row) => ({ ...row, part: 'mean' })),
        ...clean.map((row) => ({ ...row, part: 'clean' })),
      ],
    },
    facet: {
      row: {
        field: 'block',
        type: 'nominal',
        title: null,
        sort: distinct(shown.map(({ condition }) => blockLabel(condition))),
        header: BLOCK_HEADER,
      },
    },
    spacing: BLOCK_SPACING,
    spec: {
      width: 300,
      height: { step: 24 },
      layer: [
        {
          transform: [{ filter: "datum.part == 'mean'" }],
          mark: { type: 'rule', strokeWidth: 2, opacity: 0.55, clip: true },
          encoding: { x: x('low'), x2: { field: 'high' }, y, color },
        },
        {
          transform: [{ filter: "datum.part == 'clean'" }],
          mark: { type: 'tick', thickness: 2, size: 18, color: MUTED, clip: true },
          encoding: { x: x('mean'), y },
        },
        {
          transform: [{ filter: "datum.part == 'mean'" }],
          mark: { type: 'tick', thickness: 3, size: 16, clip: true },
          encoding: { x: x('mean'), y, color },
        },
        {
          transform: [{ filter: "datum.part == 'seed'" }],
          mark: {
            type: 'point',
            filled: true,
            size: 60,
            stroke: INK,
            strokeWidth: 0.6,
            opacity: 0.9,
          },
          encoding: {
            x: x('value'),
            y,
            color,
            fillOpacity: HOLLOW,
            shape: {
              field: 'adapter',
              type: 'nominal',
              scale: { domain: palette.domain as string[], range: palette.shapes as string[] },
              legend: null,
            },
          },
        },
      ],
    },
    resolve: { scale: { y: 'independent' } },
  };
  const id = `scores-${metric.metric.replaceAll('_', '-')}`;
  const title = `${metric.label} by attack and adapter`;
  return {
    id,
    title,
    caption: `Points are seeds, the coloured bar is their mean, the line its 95% t-interval, cut at the ends of the axis.${withClean ? ' The grey bar is what the trigger does to the paired clean model.' : ''}${hollowNote(shown.map(({ condition }) => condition))}${left(having.length - shown.length, 'condition')}`,
    svg: await draw(spec, id, title),
    csv: toCsv(
      shown.flatMap(({ condition, series }) =>
        series.values.map(({ seed, value }) => ({
          attack: condition.attackLabel,
          adapter: condition.adapterLabel,
          setting: condition.setting,
          seed,
          [metric.metric]: value,
        })),
      ),
    ),
  };
}

/** Seeds whose models predict one class only: their points are hollow. */
export const oneClassSeeds = ({ cells }: Condition): ReadonlySet<number> =>
  new Set(cells.filter(predictsOneClass).map(({ seed }) => seed));
export const HOLLOW = { condition: { test: 'datum.oneClass', value: 0 }, value: 0.9 } as const;
export const hollowNote = (conditions: readonly Condition[]): string =>
  conditions.some((condition) => oneClassSeeds(condition).size > 0)
    ? ' Hollow points: models that predict one class only.'
    : '';

/** What a figure has no room for is said under it. */
export const left = (count: number, noun: string): string =>
  count > 0
    ? ` ${count.toLocaleString('en')} more ${noun}${count === 1 ? ' is' : 's are'} left out of this figure.`
    : '';
