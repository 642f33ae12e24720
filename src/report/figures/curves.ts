/** Draws a number against a numeric axis of the grid: dose-response, rank, variance. */
import type { TopLevelSpec } from 'vega-lite';
import type { Summary } from '../../base/stats.ts';
import {
  type Condition,
  type Quantity,
  type Series,
  seriesOf,
  voidReasons,
} from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { distinct } from '../groups.ts';
import { ACCURACY, type MetricNote } from '../metrics.ts';
import type { Figure } from '../types.ts';
import {
  drawFigure,
  HOLLOW,
  hollowNote,
  leftOut,
  LINE,
  lineOf,
  nominal,
  onlyPart,
  quantitative,
  seedPoint,
} from './encode.ts';
import { legendColumns } from './theme.ts';

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
/**
 * The most lines in a figure, since more can't be told apart. The others go into another figure.
 */
const MOST_LINES = 5;
const MOST_FIGURES = 2;
/**
 * Half of the smallest span of an axis (in shares and nats), so that values that differ by rounding
 * alone look equal.
 */
const LEAST_PAD = 0.005;

export interface CurvePoint {
  readonly line: string;
  /** Null draws a level across the whole axis: full fine-tuning has no rank. */
  readonly x: number | null;
  readonly condition: Condition;
  readonly quantity: Quantity;
  /** The metric by which points are judged (evidence.ts). Default: the accuracy. */
  readonly metric?: MetricNote;
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
  /**
   * The span of the y axis: `unit` is [0, 1], `to-one` runs from a round tenth below the least
   * value to 1, `points` is the range of the values, `from-zero` that range with zero in it.
   */
  readonly span: 'unit' | 'to-one' | 'from-zero' | 'points';
  /** Colours by line; lines without one get the next of the palette. */
  readonly colours?: ReadonlyMap<string, string>;
}

interface DrawnPoint extends CurvePoint {
  readonly series: Series;
  readonly summary: Summary;
}

/**
 * Draws as many figures as the lines need, with about equally many lines in each. Returns none if
 * the axis has fewer than two places.
 */
export async function curveFigures(
  points: readonly CurvePoint[],
  options: CurveOptions,
): Promise<Figure[]> {
  const drawn = points.flatMap((point): DrawnPoint[] => {
    const series = seriesOf(point.condition, point.quantity);
    return series.summary === null ? [] : [{ ...point, series, summary: series.summary }];
  });
  const every = distinct(drawn.map(({ line }) => line));
  const lines = every.slice(0, MOST_LINES * MOST_FIGURES);
  const count = Math.ceil(lines.length / MOST_LINES);
  const each = Math.ceil(lines.length / Math.max(1, count));
  const figures: (Figure | null)[] = [];
  for (let k = 0; k < count; k++) {
    const some = lines.slice(k * each, (k + 1) * each);
    const part =
      count > 1
        ? {
            id: k === 0 ? options.id : `${options.id}-${k + 1}`,
            title: `${options.title} (${k + 1} of ${count})`,
          }
        : {};
    figures.push(
      await curveFigure(
        drawn.filter(({ line }) => some.includes(line)),
        some,
        { ...options, ...part },
        k === 0 ? every.length - lines.length : 0,
      ),
    );
  }
  return figures.filter((figure) => figure !== null);
}

/**
 * Returns the values to draw. A level has one point at each end of the axis; other points have
 * their seeds.
 */
function valuesOf(points: readonly DrawnPoint[], least: number, most: number) {
  return points.flatMap(({ line, x, series, summary, condition, metric = ACCURACY }) => {
    const { mean } = summary,
      { low, high } = lineOf(summary);
    if (x === null)
      return [least, most].map((end) => ({ line, part: 'level', x: end, mean, low, high }));
    const voids = voidReasons(condition, metric);
    return [
      { line, part: 'mean', x, mean, low, high },
      ...series.values.map(({ seed, value }) => ({
        isVoid: voids.has(seed),
        line,
        part: 'seed',
        x,
        mean: value,
        low: null,
        high: null,
      })),
    ];
  });
}

function yDomain(points: readonly DrawnPoint[], span: CurveOptions['span']): [number, number] {
  const seen = points.flatMap(({ series }) => series.values.map(({ value }) => value));
  const [least, most] = [Math.min(...seen), Math.max(...seen)];
  const pad = Math.max((most - least) * 0.15, Math.abs(most) * 0.01, LEAST_PAD);
  switch (span) {
    case 'unit':
      return [0, 1];
    case 'to-one':
      return [Math.max(0, Math.floor((least - 0.03) * 10) / 10), 1];
    case 'from-zero':
      return [Math.min(0, least - pad), most + pad];
    case 'points':
      return [least - pad, most + pad];
  }
}

function xEncoding(xs: number[], least: number, most: number, axis: CurveAxis) {
  const isLog = axis.scale === 'log2' || (least > 0 && most / least >= 20);
  return quantitative('x', axis.title, {
    scale: {
      type: isLog ? ('log' as const) : ('linear' as const),
      ...(isLog ? { base: axis.scale === 'log2' ? 2 : 10 } : {}),
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
  });
}

async function curveFigure(
  points: readonly DrawnPoint[],
  lines: string[],
  options: CurveOptions,
  left: number,
): Promise<Figure | null> {
  const xs = distinct(points.map(({ x }) => x).filter((x) => x !== null)).sort((a, b) => a - b);
  const least = xs[0],
    most = xs.at(-1);
  if (least === undefined || most === undefined || least === most) return null;
  const x = xEncoding(xs, least, most, options.axis);
  const domain = yDomain(points, options.span);
  const y = (field: string) =>
    quantitative(field, options.yTitle, { scale: { domain, zero: false, nice: false } });
  const color = nominal('line', {
    scale: {
      domain: lines,
      range: lines.map(
        (line, i) => options.colours?.get(line) ?? COLOURS[i % COLOURS.length] ?? '#444444',
      ),
    },
    legend: { columns: Math.min(2, legendColumns(lines)) },
  });
  const spec: TopLevelSpec = {
    width: 350,
    height: 180,
    data: { values: valuesOf(points, least, most) },
    layer: [
      {
        transform: onlyPart('level'),
        mark: { type: 'line', strokeDash: [5, 4], strokeWidth: 1.5, clip: true },
        encoding: { x, y: y('mean'), color },
      },
      {
        transform: onlyPart('mean'),
        mark: { type: 'rule', strokeWidth: 1.5, opacity: 0.45, clip: true },
        encoding: { x, y: y('low'), y2: { field: 'high' }, color },
      },
      {
        transform: onlyPart('mean'),
        mark: { type: 'line', strokeWidth: 2, clip: true },
        encoding: { x, y: y('mean'), color },
      },
      {
        transform: onlyPart('seed'),
        mark: seedPoint(36, { strokeWidth: 0.5, opacity: 0.85 }),
        encoding: { x, y: y('mean'), color, fillOpacity: HOLLOW },
      },
    ],
  };
  const caption = [
    options.caption === '' ? '' : `${options.caption} `,
    `Points are seeds; the line joins their means; each bar is a ${LINE}, cut at the ends of `,
    'the axis.',
    points.some((point) => point.x === null)
      ? ' Dashed: full fine-tuning, which has no such axis.'
      : '',
    hollowNote(points.map(({ condition, metric = ACCURACY }) => ({ condition, metric }))),
    leftOut(left, 'line'),
  ];
  return drawFigure(
    options,
    caption,
    spec,
    toCsv(
      points.flatMap(({ line, x: at, series, condition, metric = ACCURACY }) => {
        const voids = voidReasons(condition, metric);
        return series.values.map(({ seed, value }) => ({
          line,
          x: at,
          seed,
          value,
          not_evidence: voids.get(seed) ?? '',
        }));
      }),
    ),
  );
}
