/**
 * One look for every figure. The colours are those of Okabe and Ito, which colour-blind readers can
 * tell apart; full fine-tuning is always blue.
 */
import type { Config } from 'vega-lite';
import { type Condition, isFull } from '../conditions.ts';
import { codePoints, wrap } from '../format.ts';
import { distinct } from '../groups.ts';

export const FONT =
  'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
export const INK = '#1b2430';
export const MUTED = '#5b6776';
const GRID = '#e3e7ec';
const FULL_COLOUR = '#0072b2';
const FULL_COLOURS = [FULL_COLOUR, '#56b4e9', '#003f66'],
  // A pentagon and a star, in a square from −1 to 1.
  FULL_SHAPES = [
    'square',
    'M0,-1L.95,-.31L.59,.81L-.59,.81L-.95,-.31Z',
    'M0,-1L.26,-.36L.95,-.31L.43,.14L.59,.81L0,.45L-.59,.81L-.43,.14L-.95,-.31L-.26,-.36Z',
  ];
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
const SHAPES = [
  'circle',
  'triangle-up',
  'diamond',
  'cross',
  'triangle-down',
  'triangle-right',
  'triangle-left',
  // A cross on its side, drawn as an outline: mere strokes have no fill, so no symbol in a legend.
  'M-.95,-.6L-.6,-.95L0,-.35L.6,-.95L.95,-.6L.35,0L.95,.6L.6,.95L0,.35L-.6,.95L-.95,.6L-.35,0Z',
];

const COLUMN_PADDING = 14;

export const config: Config = {
  aria: false, // one title for the SVG instead of a label for each mark
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
    labelFlush: false, // the first and the last number stand under their ticks
    labelLimit: 270,
    labelSeparation: 4, // where numbers would stand closer, every other one is left out
    titlePadding: 8,
  },
  legend: {
    labelFontSize: 12,
    titleFontSize: 12,
    titleColor: MUTED,
    titleFontWeight: 'normal',
    labelColor: INK,
    labelLimit: 0, // names are not cut, since the names of two lines could then look the same
    orient: 'top',
    direction: 'horizontal',
    symbolSize: 80,
    columnPadding: COLUMN_PADDING,
    offset: 6,
  },
  header: {
    labelFontSize: 12,
    labelColor: INK,
    labelFontWeight: 'bold',
    titleColor: MUTED,
    titleFontSize: 12,
    titleFontWeight: 'normal',
  },
  title: { fontSize: 13, anchor: 'start', color: INK },
};

/** The widths for a legend in pixels, by the size of its figure; `own` for one without a size. */
export const LEGEND_WIDTHS = { column: 310, phone: 360, page: 640, own: 400 };
/** The widths of a plain and a bold character of 12 px type, in pixels, as in encode.ts. */
export const CHARACTER = 7.1,
  BOLD_CHARACTER = 7.7;
const SYMBOL = 30; // the width of a legend's symbol, with the space beside it

/** Breaks a name into lines of at most `most` characters; a longer word has a longer line. */
export const nameLines = (name: string, most: number): readonly string[] =>
  // The first `wrap` breaks between parts only, after `,` or `·`. The second breaks a part, such as
  // `base r = 4`, that is longer than a line, but not `r = 4`.
  wrap(name.replaceAll(/(?<![,·]) /g, '\u00a0'), most)
    .split('\n')
    .flatMap((line) => wrap(line.replaceAll(/(?<!=)\u00a0(?!=)/g, ' '), most).split('\n'))
    .map((line) => line.replaceAll('\u00a0', ' '));

/**
 * Returns how an axis, a legend or headings of panels write names: as `shown` has them, in lines of
 * at most `most` characters.
 */
export const inLines = (
  names: readonly string[],
  most: number,
  shown: (name: string) => string = String,
): { readonly labelExpr?: string } => {
  if (names.every((name) => shown(name) === name && codePoints(name).length <= most)) return {};
  const lines = Object.fromEntries(names.map((name) => [name, nameLines(shown(name), most)]));
  return { labelExpr: `${JSON.stringify(lines)}[datum.label]` };
};

/**
 * Returns how many names fit side by side in a legend, and breaks names that are too long for one
 * row. A wider legend would shrink the figure.
 * @param room a size of figures, or the room in pixels
 * @param shown how a name is written
 */
export function legendLayout(
  names: readonly string[],
  room: keyof typeof LEGEND_WIDTHS | number = 'own',
  shown: (name: string) => string = String,
): { readonly columns: number; readonly labelExpr?: string } {
  const longest = Math.max(1, ...names.map((name) => codePoints(shown(name)).length)),
    width = typeof room === 'number' ? room : LEGEND_WIDTHS[room];
  return {
    columns: Math.max(1, Math.floor((width + COLUMN_PADDING) / (SYMBOL + CHARACTER * longest))),
    ...inLines(names, Math.floor((width - SYMBOL) / CHARACTER), shown),
  };
}

const DASHES: readonly (readonly number[])[] = [
  [1, 0],
  [8, 3],
  [4, 2],
  [8, 3, 2, 3],
  [12, 3],
  [4, 2, 1, 2],
  [1, 2],
];

interface Look {
  readonly colour: string;
  readonly shape: string;
  readonly dash: readonly number[];
}
const cyclic = <T>(list: readonly T[], index: number): T => list[index % list.length]!;
/**
 * Returns a look for each name: colours, shapes and dashes in their order, starting over after the
 * last.
 */
const looksFor = (
  names: readonly unknown[],
  colours: readonly string[],
  shapes: readonly string[],
): readonly Look[] =>
  names.map((_, i) => ({
    colour: cyclic(colours, i),
    shape: cyclic(shapes, i),
    dash: cyclic(DASHES, i),
  }));
const FULL_LOOKS = looksFor(FULL_COLOURS, FULL_COLOURS, FULL_SHAPES);
const LOOKS = looksFor([FULL_COLOUR, ...OTHERS], [FULL_COLOUR, ...OTHERS], ['square', ...SHAPES]);

/**
 * The looks of adapters or lines in parallel lists, one item for each name in `domain`. Not
 * readonly, because Vega-Lite's types are not.
 */
export interface Palette {
  readonly domain: string[];
  readonly range: string[];
  readonly shapes: string[];
  readonly dashes: (readonly number[])[];
}

const paletteWith = (domain: string[], looks: readonly Look[]): Palette => ({
  domain,
  range: looks.map(({ colour }) => colour),
  shapes: looks.map(({ shape }) => shape),
  dashes: looks.map(({ dash }) => dash),
});

/**
 * Gives each adapter of the grid a look: blue ones to full fine-tuning, other colours to the rest.
 */
export function adapterPalette(conditions: readonly Condition[]): Palette {
  const labels = (some: readonly Condition[]): string[] =>
    distinct(some.map(({ adapterLabel }) => adapterLabel));
  const full = labels(conditions.filter(isFull)),
    others = labels(conditions.filter((condition) => !isFull(condition)));
  const looks = [...looksFor(full, FULL_COLOURS, FULL_SHAPES), ...looksFor(others, OTHERS, SHAPES)];
  return paletteWith(
    [...full, ...others],
    looks.map((look, i) => ({ ...look, dash: cyclic(DASHES, i) })),
  );
}

/**
 * Gives each line a look. A line of a single adapter has the adapter's look, unless another line is
 * of the same single adapter. Any other line has a look by its place among all lines that the
 * report could show, so that figures which show different lines agree. A colour that another line
 * of the figure has is avoided while any colour is free.
 * @param all the conditions of every line that the report could show, in the order of the grid
 */
export function linePalette(
  lines: string[],
  all: ReadonlyMap<string, readonly Condition[]>,
  adapters: Palette,
): Palette {
  const labels = new Map(
    [...all].map(([line, of]) => [line, distinct(of.map(({ adapterLabel }) => adapterLabel))]),
  );
  const ofOne = [...labels.values()].flatMap((own) => (own.length === 1 ? own : []));
  /** Returns the index of the only adapter of a line and of no other line; −1 if there is none. */
  const adapterIndex = (line: string): number => {
    const [label = '', ...others] = labels.get(line) ?? [];
    const isIts = others.length === 0 && ofOne.filter((one) => one === label).length === 1;
    return isIts ? adapters.domain.indexOf(label) : -1;
  };
  const every = [...all.keys()],
    others = every.filter((line) => adapterIndex(line) < 0);
  const isOfFull = (line: string): boolean => all.get(line)?.every(isFull) ?? false;
  const full = every.every(isOfFull) ? [] : others.filter(isOfFull),
    rest = others.filter((line) => !full.includes(line));
  const known = every.map((line) => adapters.range[adapterIndex(line)]);
  const free = LOOKS.filter(
    ({ colour }) => !known.includes(colour) && (full.length === 0 || colour !== FULL_COLOUR),
  );
  // Returns a line's own look; undefined if there is none left for it.
  const findLook = (line: string): Look | undefined => {
    const { range, shapes, dashes } = adapters,
      at = adapterIndex(line);
    if (at >= 0) return { colour: range[at]!, shape: shapes[at]!, dash: dashes[at]! };
    const place = full.indexOf(line);
    return place < 0 ? free[rest.indexOf(line) % free.length] : cyclic(FULL_LOOKS, place);
  };
  const looks: Look[] = [];
  for (const line of lines) {
    const own = findLook(line),
      isFree = ({ colour }: Look): boolean => looks.every((look) => look.colour !== colour);
    const look = own && isFree(own) ? own : (LOOKS.find(isFree) ?? own);
    looks.push(look ?? { colour: INK, shape: 'circle', dash: [1, 0] });
  }
  return paletteWith(lines, looks);
}
