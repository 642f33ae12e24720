/** One look for every figure. Colours: Okabe and Ito's, told apart by colour-blind readers too; full is always blue. */
import type { Config } from 'vega-lite';
import { type Condition, distinct, isFull } from '../conditions.ts';

export const FONT =
  'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
export const INK = '#1b2430';
export const MUTED = '#5b6776';
export const GRID = '#e3e7ec';
export const FULL_COLOUR = '#0072b2';
const OTHERS = [
  '#d55e00',
  '#009e73',
  '#cc79a7',
  '#e69f00',
  '#56b4e9',
  '#8a6d00',
  '#7f3c8d',
  '#444444',
];
/** Shapes double the colours, for print. */
const SHAPES = [
  'circle',
  'triangle-up',
  'diamond',
  'cross',
  'triangle-down',
  'triangle-right',
  'triangle-left',
  'stroke',
];

export const config: Config = {
  aria: false, // one title an SVG instead of one label a mark
  background: 'white',
  font: FONT,
  padding: 6,
  view: { stroke: null },
  axis: {
    labelColor: INK,
    titleColor: MUTED,
    titleFontWeight: 'normal',
    labelFontSize: 12,
    titleFontSize: 12,
    gridColor: GRID,
    domainColor: '#9aa5b1',
    tickColor: '#9aa5b1',
    labelLimit: 270,
    titlePadding: 8,
  },
  legend: {
    labelFontSize: 12,
    titleFontSize: 12,
    titleColor: MUTED,
    titleFontWeight: 'normal',
    labelColor: INK,
    labelLimit: 340,
    orient: 'top',
    direction: 'horizontal',
    symbolSize: 80,
    columnPadding: 14,
    offset: 6,
  },
  header: { labelFontSize: 12, labelColor: INK, titleColor: MUTED, labelFontWeight: 'bold' },
  title: { fontSize: 13, anchor: 'start', color: INK },
};

/** Of the rows of a faceted figure: its name above each, at the left. */
export const BLOCK_HEADER = {
  labelAngle: 0,
  labelOrient: 'top',
  labelAnchor: 'start',
  labelPadding: 3,
} as const;
export const BLOCK_SPACING = 12;

/** Width that a legend may have beside others of its row, in pixels. */
const LEGEND_WIDTH = 520;
/** So many entries a row that the longest names fit: a legend in one line would shrink the figure under it. */
export const legendColumns = (names: readonly string[]): number =>
  Math.max(
    1,
    Math.floor(LEGEND_WIDTH / (34 + 7.1 * Math.max(1, ...names.map((name) => [...name].length)))),
  );

export interface Palette {
  readonly domain: readonly string[];
  readonly range: readonly string[];
  readonly shapes: readonly string[];
}

/** A colour an adapter, the same in every figure. */
export function adapterPalette(conditions: readonly Condition[]): Palette {
  const full = distinct(conditions.filter(isFull).map(({ adapterLabel }) => adapterLabel));
  const others = distinct(
    conditions.filter((condition) => !isFull(condition)).map(({ adapterLabel }) => adapterLabel),
  );
  const domain = [...full, ...others];
  return {
    domain,
    range: domain.map((_, i) =>
      i < full.length
        ? i === 0
          ? FULL_COLOUR
          : '#56b4e9'
        : OTHERS[(i - full.length) % OTHERS.length]!,
    ),
    shapes: domain.map((_, i) =>
      i < full.length ? 'square' : SHAPES[(i - full.length) % SHAPES.length]!,
    ),
  };
}
