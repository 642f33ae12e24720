/** A number against a numeric axis of the grid: dose-response, rank, variance. */
import type { TopLevelSpec } from 'vega-lite';
import { type Condition, distinct, type Quantity, type Series, seriesOf } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import type { Figure } from '../types.ts';
import { HOLLOW, hollowNote, left, oneClassSeeds } from './scores.ts';
import { draw } from './svg.ts';
import { INK, legendColumns } from './theme.ts';

const COLOURS = [
  '#0072b2',
  '#d55e00',
  '#009e73',
  '#cc79a7',
  '#e69f00',
  '#56b4e9',
  '#7f3c8d',
  '#444444',
  '#8a6d00',
];
/** More lines than this are not told apart: the others go into a figure of their own. */
const MOST_LINES = 5;
const MOST_FIGURES = 2;
/** Half of the least that an axis spans (in shares and nats): values that differ by rounding alone look equal. */
const LEAST_PAD = 0.005;

export interface CurvePoint {
  readonly line: string;
  /** Null draws a level across the whole axis: full fine-tuning has no rank. */
  readonly x: number | null;
  readonly condition: Condition;
  readonly quantity: Quantity;
}

export interface CurveAxis {
  readonly title: string;
  /** `auto`: logarithmic where the values span a factor of 20. */
  readonly scale: 'auto' | 'log2';
}

export interface CurveOptions {
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  readonly yTitle: string;
  readonly axis: CurveAxis;
  /** What the y axis spans: [0, 1], a round tenth below the least to 1, or what the points do (with zero for `from-zero`). */
  readonly span: 'unit' | 'to-one' | 'from-zero' | 'points';
  /** Colours by line; lines without one get the next of the palette. */
  readonly colours?: ReadonlyMap<string, string>;
}

interface DrawnPoint extends CurvePoint {
  readonly series: Series;
}

/** As many figures as the lines need, alike in size; none where the axis has fewer than two places. */
export async function curveFigures(
  points: readonly CurvePoint[],
  options: CurveOptions,
): Promise<Figure[]> {
  const rows = points
    .map((point): DrawnPoint => ({ ...point, series: seriesOf(point.condition, point.quantity) }))
    .filter(({ series }) => series.summary !== null);
  const every = distinct(rows.map(({ line }) => line));
  const lines = every.slice(0, MOST_LINES * MOST_FIGURES);
  const count = Math.ceil(lines.length / MOST_LINES);
  const each = Math.ceil(lines.length / Math.max(1, count));
  const figures: (Figure | null)[] = [];
  for (let k = 0; k < count; k++) {
    const some = lines.slice(k * each, (k + 1) * each);
    figures.push(
      await curveFigure(
        rows.filter(({ line }) => some.includes(line)),
        some,
        {
          ...options,
          ...(count > 1
            ? {
                id: k === 0 ? options.id : `${options.id}-${k + 1}`,
                title: `${options.title} (${k + 1} of ${count})`,
              }
            : {}),
        },
        k === 0 ? every.length - lines.length : 0,
      ),
    );
  }
  return figures.filter((figure) => figure !== null);
}

async function curveFigure(
  shown: readonly DrawnPoint[],
  lines: readonly string[],
  options: CurveOptions,
  leftOut: number,
): Promise<Figure | null> {
  const xs = distinct(shown.flatMap(({ x }) => (x === null ? [] : [x]))).sort((a, b) => a - b);
  if (xs.length < 2) return null;
  const log = options.axis.scale === 'log2' || (xs[0]! > 0 && xs[xs.length - 1]! / xs[0]! >= 20);
  const values = shown.flatMap(({ line, x, series, condition }) => {
    const collapsed = oneClassSeeds(condition);
    const { mean, low, high } = series.summary!;
    return [
      ...(x === null
        ? [
            { line, part: 'level', x: xs[0]!, mean, low, high },
            { line, part: 'level', x: xs[xs.length - 1]!, mean, low, high },
          ]
        : [{ line, part: 'mean', x, mean, low, high }]),
      ...(x === null
        ? []
        : series.values.map(({ seed, value }) => ({
            oneClass: collapsed.has(seed),
            line,
            part: 'seed',
            x,
            mean: value,
            low: null,
            high: null,
          }))),
    ];
  });
  const seen = shown.flatMap(({ series }) => series.values.map(({ value }) => value));
  const [least, most] = [Math.min(...seen), Math.max(...seen)];
  const pad = Math.max((most - least) * 0.15, Math.abs(most) * 0.01, LEAST_PAD);
  const yDomain = {
    unit: [0, 1],
    'to-one': [Math.max(0, Math.floor((least - 0.03) * 10) / 10), 1],
    'from-zero': [Math.min(0, least - pad), most + pad],
    points: [least - pad, most + pad],
  }[options.span];
  const x = {
    field: 'x',
    type: 'quantitative' as const,
    title: options.axis.title,
    scale: {
      type: log ? ('log' as const) : ('linear' as const),
      ...(log ? { base: options.axis.scale === 'log2' ? 2 : 10 } : {}),
      zero: false,
      nice: false,
      padding: 12,
    },
    axis: {
      ...(xs.length <= 9 ? { values: xs } : {}),
      grid: false,
      labelOverlap: true,
      format: '.3~r',
    },
  };
  const y = (field: string) => ({
    field,
    type: 'quantitative' as const,
    title: options.yTitle,
    scale: { domain: yDomain, zero: false, nice: false },
  });
  const color = {
    field: 'line',
    type: 'nominal' as const,
    title: null,
    scale: {
      domain: lines as string[],
      range: lines.map((line, i) => options.colours?.get(line) ?? COLOURS[i % COLOURS.length]!),
    },
    legend: { columns: Math.min(2, legendColumns(lines)) },
  };
  const spec: TopLevelSpec = {
    width: 350,
    height: 180,
    data: { values },
    layer: [
      {
        transform: [{ filter: "datum.part == 'level'" }],
        mark: { type: 'line', strokeDash: [5, 4], strokeWidth: 1.5, clip: true },
        encoding: { x, y: y('mean'), color },
      },
      {
        transform: [{ filter: "datum.part == 'mean'" }],
        mark: { type: 'rule', strokeWidth: 1.5, opacity: 0.45, clip: true },
        encoding: { x, y: y('low'), y2: { field: 'high' }, color },
      },
      {
        transform: [{ filter: "datum.part == 'mean'" }],
        mark: { type: 'line', strokeWidth: 2, clip: true },
        encoding: { x, y: y('mean'), color },
      },
      {
        transform: [{ filter: "datum.part == 'seed'" }],
        mark: {
          type: 'point',
          filled: true,
          size: 36,
          stroke: INK,
          strokeWidth: 0.5,
          opacity: 0.85,
        },
        encoding: { x, y: y('mean'), color, fillOpacity: HOLLOW },
      },
    ],
  };
  return {
    id: options.id,
    title: options.title,
    caption: `${options.caption === '' ? '' : `${options.caption} `}Points are seeds; the line joins their means, bars are 95% t-intervals, cut at the ends of the axis.${shown.some(({ x: at }) => at === null) ? ' Dashed: full fine-tuning, which has no such axis.' : ''}${hollowNote(shown.map(({ condition }) => condition))}${left(leftOut, 'line')}`,
    svg: await draw(spec, options.id, options.title),
    csv: toCsv(
      shown.flatMap(({ line, x: at, series }) =>
        series.values.map(({ seed, value }) => ({ line, x: at, seed, value })),
      ),
    ),
  };
}
