/** The marks of an entry's figure: a frame's points as a Vega-Lite specification. */
import type { TopLevelSpec } from 'vega-lite';
import type { Channel, FigureEntry, Overlay } from '../../api/report.ts';
import { DAGGER, FEWER_ROWS } from '../evidence.ts';
import { codePoints, fixed, shareText, wrap } from '../format.ts';
import { distinct, groupBy } from '../groups.ts';
import { commonLabel } from '../metric-lookup.ts';
import { type CentreAndSpread, centreAndSpread } from '../numbers.ts';
import { PROPORTION_MARGIN } from '../verdict.ts';
import { hollowIfVoid, keyed, nominal, onlyPart, ordinal, quantitative } from './encode.ts';
import type { Frame } from './frame.ts';
import { type Measure, measureOf } from './measure.ts';
import { GREY, measureIn, publishedLines, publishedRows, valuesIn } from './overlays.ts';
import type { Point, Written } from './points.ts';
import {
  BOLD_CHARACTER,
  CHARACTER,
  INK,
  inLines,
  LEGEND_WIDTHS,
  legendLayout,
  MUTED,
  nameLines,
  type Palette,
} from './theme.ts';

/** The entry’s statistic (mean, median, …) over the seeds at one place, with its spread. */
export interface Mean extends Omit<Point, 'seed' | 'value' | 'other'>, CentreAndSpread {
  /** In a scatter plot, the statistic and the spread of x; null in other figures. */
  readonly across: CentreAndSpread | null;
}

/** Returns the spread to draw. Default: the interval of a mean, the range of other statistics. */
export const chosenSpread = ({ statistic = 'mean', spread }: FigureEntry) =>
  spread ?? (statistic === 'mean' ? 'interval' : 'range');

/** Summarises the points at each place or, in a scatter plot, of each condition. */
export function summarisePlaces(
  points: readonly Point[],
  { entry, frame }: Pick<Drawn, 'entry' | 'frame'>,
): readonly Mean[] {
  const isScatter = frame.x.kind === 'metric';
  const groups = groupBy(points, ({ row, column, line, x, measure: { field }, metric, subject }) =>
    keyed(row, column, line, field, metric, isScatter ? subject.condition.key : x),
  );
  const statistic = (values: readonly number[]) =>
    centreAndSpread(values, chosenSpread(entry), entry.statistic);
  return [...groups.values()].map((group) => {
    const across = isScatter ? statistic(group.map(({ x }) => Number(x))) : null;
    return {
      ...group[0],
      ...statistic(group.map(({ value }) => value)),
      across,
      x: across?.centre ?? group[0].x,
      reason: group.map(({ reason }) => reason).find((reason) => reason !== null) ?? null,
    };
  });
}

export interface Drawn {
  readonly entry: FigureEntry;
  readonly frame: Frame;
  readonly means: readonly Mean[];
  /** The looks of the lines that are drawn. */
  readonly palette: Palette;
  readonly overlays: readonly Overlay[];
  /** How the names of panels, lines and places on x are written. */
  readonly written: Readonly<Record<'row' | 'column' | 'line' | 'x', Written>>;
}

/**
 * Whether x is drawn upwards. Default: for points at names, so that names stand beside their rows.
 */
export const isFlipped = ({ entry: { flip }, frame: { form, x } }: Drawn): boolean =>
  flip ?? (form === 'point' && x.kind === 'text');

/**
 * Returns the mark of a reference: × for a metric of another model, ❘ for one of the same model.
 */
export const referenceMark = (metric: string): '×' | '❘' =>
  /_(?:clean|undefended)(?:\.|$)/.test(metric) ? '×' : '❘';

/**
 * Writes a number beside its mark: a proportion as `0.912` or, in a heat map, where room is short,
 * as `.91`; any other number with three significant digits.
 */
function markText(
  value: number,
  { isProportion }: Measure,
  isHeat: boolean,
  isDifference: boolean,
): string {
  if (!isProportion) return String(Number(value.toPrecision(3)));
  const decimals = isHeat ? 2 : 3,
    text = isDifference ? fixed(value, decimals) : shareText(value, decimals);
  return isHeat ? text.replace(/^([-<>]?)0\./, '$1.') : text;
}

/**
 * Whether lines are drawn a little apart on x (`lineShift`), so that they do not hide each other.
 */
export const isShifted = ({ frame: { form, x }, palette }: Drawn): boolean =>
  form === 'line' && x.kind === 'number' && palette.domain.length > 1;

/**
 * Returns how far to the right a line is drawn, in pixels: at most 4 from the next line, and all
 * lines together over a quarter of the room between places. 0 if the figure shifts no lines.
 * @param width of a panel, in pixels
 */
function lineShift(drawn: Drawn, line: string, width: number): number {
  const { domain: lines } = drawn.palette;
  const room = width / 4 / Math.max(1, numericPlaces(drawn).length),
    step = Math.min(4, room / lines.length);
  return isShifted(drawn) ? (lines.indexOf(line) - (lines.length - 1) / 2) * step : 0;
}

/**
 * Returns the data of a figure: one row for each mark, but two for a level, one for each end. A
 * layer draws the rows of one `part`.
 */
function dataRows(drawn: Drawn, width: number): object[] {
  const { frame, overlays } = drawn;
  const isHeat = frame.form === 'heatmap',
    isDifference = drawn.entry.against !== undefined;
  const xs = numericPlaces(drawn);
  const place = ({ row, column, line, x, measure: { field } }: Point | Mean) => ({
    ...{ row, column, line, x, panel: field },
    ...(isShifted(drawn) && { shift: lineShift(drawn, line, width) }),
  });
  const means = drawn.means.flatMap((mean): object[] => {
    const { centre: value, low, high, across, reason, measure, fewerRows } = mean;
    const ends = { ...place(mean), value, low, high, isVoid: reason !== null };
    if (mean.x === null) return [xs[0], xs.at(-1)].map((x) => ({ ...ends, part: 'level', x }));
    const number = markText(value, measure, isHeat, isDifference),
      text = [
        number,
        ...(reason !== null && (isHeat || hasDaggers(drawn)) ? [DAGGER] : []),
        ...(fewerRows !== null && isHeat ? [FEWER_ROWS] : []),
      ].join(' ');
    return [
      { ...ends, part: 'mean', left: across?.low ?? null, right: across?.high ?? null, text },
    ];
  });
  const seeds = frame.points.flatMap((point) => {
    const { line, seed, value, reason } = point;
    const own = { part: 'seed', value, isVoid: reason !== null, run: `${line} ${seed}` };
    return isHeat || point.x === null ? [] : [{ ...place(point), ...own }];
  });
  const references = summarisePlaces(frame.references, drawn).map((mean) => ({
    ...{ ...place(mean), part: referenceMark(mean.metric), value: mean.centre },
  }));
  return [
    ...means,
    ...seeds,
    ...references,
    ...overlays.flatMap((one) => publishedRows(one, frame, drawn.palette)),
    ...emptyPanels(frame),
  ];
}

/**
 * Returns, for each panel without points, a row of data that no layer draws. Without this row,
 * Vega-Lite would put the empty panel first in its row of panels, and the other panels under the
 * names of wrong columns.
 */
function emptyPanels({ points, measures }: Frame): object[] {
  const keyOf = ({ row, column }: Pick<Point, 'row' | 'column'>, { field }: Measure): string =>
    keyed(row, column, field);
  const filled = new Set(points.map((point) => keyOf(point, point.measure)));
  const columns = distinct(points.map(({ column }) => column));
  return distinct(points.map(({ row }) => row)).flatMap((row) =>
    columns.flatMap((column) =>
      measures
        .filter((measure) => !filled.has(keyOf({ row, column }, measure)))
        .map(({ field }) => ({ row, column, panel: field, part: 'none' })),
    ),
  );
}

/** Whether † marks means that are not evidence, since means are not drawn as (hollow) points. */
export const hasDaggers = ({ entry: { seeds = true }, frame, means }: Drawn): boolean =>
  seeds &&
  !['step', 'metric'].includes(frame.x.kind) &&
  means.some(({ reason, x }) => reason !== null && x !== null);

/** Whether a point's value or its x lies beyond the ends that the author gave an axis. */
export function isBeyond(
  { entry, frame }: Drawn,
  { measure, x }: Pick<Point, 'measure' | 'x'>,
  value: number,
): boolean {
  // Whether a number lies beyond the ends of an axis; false if the author gave none.
  const isOutside = (at: unknown, ends: Channel['domain']): boolean =>
    ends !== undefined && typeof at === 'number' && (at < ends[0] || at > ends[1]);
  return (
    isOutside(value, entry.y[frame.measures.indexOf(measure)]?.domain) ||
    isOutside(x, entry.x.domain)
  );
}

/** Returns the numbers on x, each once, in ascending order; those of overlays too. */
function numericPlaces({ frame, overlays }: Drawn): number[] {
  const ofOverlays = overlays.flatMap((one) => one.rows.map((row) => Number(row[one.x])));
  return distinct([...frame.points.map(({ x }) => x), ...ofOverlays])
    .filter((x) => typeof x === 'number')
    .sort((a, b) => a - b);
}

/** Half of the least span of an axis, so that values that differ only by rounding look equal. */
const LEAST_PAD = 0.005;

/**
 * Returns the ends of an axis as its measure's span (`Measure.span`) has them. Ends that depend on
 * the values leave some room beyond these.
 */
function axisEnds(values: readonly number[], { span }: Pick<Measure, 'span'>): [number, number] {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const pad = Math.max((most - least) * 0.15, Math.abs(most) * 0.01, LEAST_PAD);
  const ends: Record<Measure['span'], [number, number]> = {
    unit: [0, 1],
    'to-one': [Math.max(0, Math.floor((least - 0.03) * 10) / 10), 1],
    positive: [0, most + pad],
    'from-zero': [Math.min(0, least - pad), Math.max(0, most + pad)],
    points: [least - pad, most + pad],
  };
  return ends[span];
}

/**
 * Returns the ends of a measure's axis: the author's (not in a heat map), else those that its marks
 * need; for differences, symmetric around 0.
 */
export function axisDomain(drawn: Drawn, measure: Measure): readonly [number, number] {
  const { entry, frame, overlays } = drawn;
  const own = entry.y[frame.measures.indexOf(measure)]?.domain;
  if (own !== undefined && frame.form !== 'heatmap') return own;
  const values = [
    ...[...frame.points, ...frame.references]
      .filter((point) => frame.isByMetric || point.measure.field === measure.field)
      .map(({ value }) => value),
    ...overlays
      .filter((one) => frame.isByMetric || measureIn(one, frame) === measure)
      .flatMap((one) => one.rows.flatMap((row) => valuesIn(one, row))),
  ];
  if (entry.against !== undefined) {
    const reach = 1.35 * Math.max(measure.isProportion ? 0.05 : 0, ...values.map(Math.abs));
    return [-reach, reach];
  }
  const [smallest, largest] = [Math.min(...values), Math.max(...values)];
  if (frame.form === 'heatmap' && measure.isProportion && smallest >= 0) return [0, 1];
  const { scale = '' } = entry.y[frame.measures.indexOf(measure)] ?? {};
  if (scale.startsWith('log') && smallest > 0) return [smallest / 1.25, largest * 1.25];
  const [least, most] = axisEnds(values, measure);
  return frame.form === 'bar' ? [Math.min(0, least), Math.max(0, most)] : [least, most];
}

/** Returns a scale in Vega-Lite's terms. A symlog one is linear within ±`linear`. */
const scaleType = (scale: Channel['scale'], linear: number) => ({
  type: scale === 'log2' ? 'log' : scale === 'category' ? 'linear' : (scale ?? 'linear'),
  ...(scale === 'log2' && { base: 2 }),
  ...(scale === 'symlog' && { constant: linear }),
});

/** Returns the scale; symlog in place of a logarithmic one if there are values ≤ 0. */
const scaleWithZero = (scale: Channel['scale'], values: readonly number[]): Channel['scale'] =>
  (scale === 'log' || scale === 'log2') && values.some((value) => value <= 0) ? 'symlog' : scale;

/**
 * Returns the scale of a numeric x. It is the author's; a logarithmic one becomes symlog if there
 * are places ≤ 0. Default: linear if a place is below 0; else base 2 for ranks; else logarithmic
 * (symlog if there is a 0) if the places span a factor of 20; else linear.
 */
function placeScale({ entry }: Drawn, xs: readonly number[]): Channel['scale'] {
  if (entry.x.scale !== undefined) return scaleWithZero(entry.x.scale, xs);
  const positive = xs.filter((x) => x > 0),
    [least = 1] = positive;
  if ((xs[0] ?? 0) < 0) return 'linear';
  if (entry.x.field === 'adapter.rank') return 'log2';
  if ((xs.at(-1) ?? 1) / least < 20) return 'linear';
  return positive.length < xs.length ? 'symlog' : 'log';
}

/** Returns the names on x, in the points' order; if all are numbers, in ascending order. */
function namesOnX({ points }: Frame): string[] {
  const names = distinct(points.map(({ x }) => String(x)));
  return names.every((name) => Number.isFinite(Number(name)))
    ? names.sort((a, b) => Number(a) - Number(b))
    : names;
}

const MOST_LINES = 3;

/**
 * Returns how names on x stand side by side over `width` pixels: in up to MOST_LINES lines, broken
 * between parts, or, if they are too long for that, turned.
 */
function labelsAcross(names: readonly string[], width: number, { short }: Written): object {
  const room = Math.floor(width / names.length / CHARACTER);
  const fits = names.map(short).every((name) => {
    const longest = Math.max(...name.split(/(?<=[,·]) /).map((part) => codePoints(part).length));
    return longest <= room && nameLines(name, room).length <= MOST_LINES;
  });
  return { labelAngle: fits ? 0 : -25, ...inLines(names, fits ? room : Infinity, short) };
}

function placeEncoding(drawn: Drawn, width: number, isTitled: boolean): object {
  const { entry, frame } = drawn;
  const { kind } = frame.x;
  const title = isTitled && !(sharesTitle(frame) && !isFlipped(drawn)) ? titleOnX(drawn) : null;
  const domain = entry.x.domain && { domain: entry.x.domain };
  if (kind === 'text') {
    const names = namesOnX(frame);
    // Without the offset, a mark at the left end of the values would cover part of a name.
    const labels = isFlipped(drawn)
      ? { labelAngle: 0, offset: 8, ...inLines(names, Infinity, drawn.written.x.short) }
      : labelsAcross(names, width, drawn.written.x);
    return ordinal('x', title, { sort: names, axis: { grid: false, ...labels } });
  }
  if (kind === 'metric') {
    const values = [
      ...frame.points.map(({ x }) => Number(x)),
      ...drawn.overlays.flatMap((one) => one.rows.map((row) => Number(row[one.x]))),
    ];
    const ends = { domain: axisEnds(values, measureOf(entry.x.field)) },
      type = scaleType(scaleWithZero(entry.x.scale, values), Math.min(1, ...values.map(Math.abs)));
    return quantitative('x', title, { scale: { ...type, nice: false, ...ends, ...domain } });
  }
  const xs = numericPlaces(drawn);
  const isStep = kind === 'step';
  const axis = isStep
    ? { tickMinStep: 1, format: 'd', ...(panelsAbreast(drawn) > 1 && { tickCount: 5 }) }
    : { ...(xs.length <= 9 && { values: xs }), labelOverlap: true, format: '.3~r' };
  const type = scaleType(
    isStep ? scaleWithZero(entry.x.scale, xs) : placeScale(drawn, xs),
    xs.find((x) => x > 0) ?? 1,
  );
  return quantitative('x', title, {
    scale: { ...type, zero: isStep, nice: false, ...(!isStep && { padding: 12 }), ...domain },
    axis: { grid: false, ...axis },
  });
}

/** Whether panels side by side share one title of their horizontal axes. */
const sharesTitle = (frame: Frame): boolean => hasPanels(frame, 'column');

/** Returns the title of x: the author's or the axis's; null if it has none. */
const titleOnX = ({ entry, frame }: Drawn): string | null =>
  (entry.x.title ?? frame.x.title) || null;

const MOST_DOTS = 12;
/** The dashes of levels (lines across the whole axis), and the looks of published series. */
const LEVEL_DASH = [2, 3],
  SOLID = [1, 0],
  PUBLISHED_DASHES = [
    [5, 3],
    [2, 2],
    [8, 3, 2, 3],
  ],
  PUBLISHED_SHAPES = ['circle', 'square', 'triangle-up'];

/** Encodes a place on x, and a value: one field of the data, or the span between two. */
type Place = (from: string, to?: string) => object;

/**
 * Returns the layers of one panel of `width` pixels, the lowest first.
 * @param isOnly whether no other measure has a panel
 * @param isTitled whether the panel has the title of x
 */
function panelLayers(
  drawn: Drawn,
  measure: Measure,
  width: number,
  { isOnly, isTitled }: { readonly isOnly: boolean; readonly isTitled: boolean },
): object[] {
  const { entry, frame, palette, overlays } = drawn;
  const { form, x, measures, isDodged } = frame;
  const { seeds = true, values = false, against } = entry;
  const isFlip = isFlipped(drawn);
  const y = entry.y[measures.indexOf(measure)];
  // The channels of x, of a value, and of the other end of its spread.
  const [along, up, toUp] = isFlip ? ['y', 'x', 'x2'] : ['x', 'y', 'y2'];
  const place = placeEncoding(drawn, width, isTitled);
  const positive = frame.points.map(({ value }) => value).filter((value) => value > 0);
  const scale = {
    ...scaleType(scaleWithZero(y?.scale, axisDomain(drawn, measure)), Math.min(1, ...positive)),
    domain: axisDomain(drawn, measure),
    ...{ zero: false, nice: false },
  };
  const isTitledUp = isFlip ? !sharesTitle(frame) : isOnly;
  const value = (field: string) =>
    quantitative(field, isTitledUp ? measureTitle(drawn, measure) : null, { scale });
  const offset = { field: 'line', type: 'nominal', scale: { domain: palette.domain } };
  const placeAt: Place = (from, to) => ({
    [along]: place,
    [up]: value(from),
    ...(to !== undefined && { [toUp]: { field: to } }),
    ...(isDodged && { [`${along}Offset`]: offset }),
  });
  const { color, shape, strokeDash } = lineChannels(drawn, width);
  // The numbers of overlays are not checked: an axis with the author's ends may leave some out.
  const mayLeaveOut =
    overlays.length > 0
      ? (y?.domain ?? entry.x.domain) !== undefined
      : [...frame.points, ...frame.references].some((own) => isBeyond(drawn, own, own.value));
  const layer = (
    part: string,
    type: string,
    look: object,
    more: object = {},
    where = placeAt('value'),
  ) => ({
    transform: onlyPart(part),
    // Points at the ends of an axis are clipped only if other points may lie beyond the ends.
    mark: {
      ...{ type, clip: type !== 'point' || mayLeaveOut, ...look },
      ...(isShifted(drawn) && part !== 'level' && part !== 'published' && shift),
    },
    encoding: { ...where, ...more },
  });
  const shift = { [`${along}Offset`]: { expr: 'datum.shift' } };
  const point = { filled: true, opacity: 1 };
  const between = placeAt('low', 'high');
  const orient = isFlip ? 'vertical' : 'horizontal';
  const ofLine = (size: number) => ({ color, shape, ...hollowIfVoid(size) });
  const isStep = x.kind === 'step',
    isScatter = x.kind === 'metric',
    isLine = form === 'line';
  const spread = (opacity: number, strokeWidth: number) =>
    layer('mean', 'rule', { strokeWidth, opacity }, { color }, between);
  const seedPoints = (size: number, opacity: number) =>
    layer(
      'seed',
      'point',
      { filled: true, stroke: INK, opacity },
      {
        ...ofLine(size),
        strokeWidth: { condition: { test: 'datum.isVoid', value: 1.2 }, value: 0.5 },
      },
    );
  const stroke = { ...color, legend: null };
  const means = (size: number) =>
    layer('mean', 'point', { ...point, strokeWidth: 2 }, { ...ofLine(size), stroke });
  const text = isFlip ? { align: 'left', dx: 12 } : { align: 'center', dy: -10 };
  const written = {
    ...(isFlip && { x: { value: 'width' } }),
    text: { field: 'text', type: 'nominal' },
  };
  const ofVoid = { text: DAGGER, dx: 6, fontSize: 13, fontWeight: 'bold', clip: mayLeaveOut };
  const daggers = {
    ...layer('mean', 'text', { ...ofVoid, dy: hasNamesAbove(drawn) ? 14 : -9 }, { color }),
    transform: [...onlyPart('mean'), { filter: 'datum.isVoid' }],
  };
  /** Encodes one line for each seed, and not one for each condition. */
  const byRun = { color, strokeDash, detail: { field: 'run' } };
  const across = { x: { ...place, field: 'left' }, x2: { field: 'right' }, y: value('value') };
  const ownInk = { color: { field: 'ink', type: 'nominal', scale: null } };
  const dots = numericPlaces(drawn).length <= MOST_DOTS ? { size: 14 } : false;
  const layers: (object | false)[] = [
    ...(against === undefined ? [] : zeroLayers(measure, isFlip)),
    form === 'bar' &&
      layer('mean', 'bar', { opacity: 0.75, stroke: INK, strokeWidth: 0.5 }, { color }),
    isStep &&
      seeds &&
      layer('seed', 'line', { point: dots, strokeWidth: 1.4, opacity: 0.8 }, byRun),
    isStep && !seeds && layer('mean', 'area', { opacity: 0.18 }, { color }, between),
    isLine && layer('level', 'line', { strokeDash: LEVEL_DASH, strokeWidth: 1.5 }, { color }),
    !isStep && spread(isLine ? 0.45 : form === 'bar' ? 1 : 0.55, form === 'point' ? 2 : 1.5),
    isScatter && layer('mean', 'rule', { strokeWidth: 2, opacity: 0.55 }, { color }, across),
    isLine &&
      !(isStep && seeds) &&
      layer('mean', 'line', { strokeWidth: 2 }, { color, strokeDash }),
    layer('❘', 'point', { ...REFERENCE_STROKE, angle: isFlip ? 90 : 0 }),
    layer('×', 'point', { ...REFERENCE_CROSS, shape: CROSS }),
    form === 'point' &&
      seeds &&
      !isScatter &&
      layer('mean', 'tick', { orient, thickness: 3, size: 16 }, { color }),
    !isStep &&
      seeds &&
      (isScatter ? seedPoints(20, 0.45) : seedPoints(form === 'point' ? 60 : 36, 0.87)),
    !isStep && (!seeds || isScatter) && means(form === 'point' ? 90 : 50),
    ...(overlays.length === 0
      ? []
      : [
          layer('published', 'rule', { strokeWidth: 1, strokeOpacity: 0.6 }, ownInk, between),
          isLine && layer('published', 'line', { strokeWidth: 1.2 }, { ...byRun, ...ownInk }),
          layer('published', 'point', { ...point, ...PUBLISHED_POINT }, { shape }),
        ]),
    hasDaggers(drawn) && !values && daggers, // a written number has its dagger beside it
    values && layer('mean', 'text', { ...text, clip: false, color: INK }, written),
  ];
  return layers.filter((one) => one !== false);
}
/**
 * The cross is thin but filled, since a hollow mark says that a number is not evidence. It has a
 * white outline, since it may lie on other marks.
 */
const REFERENCE_CROSS = { fill: INK, stroke: 'white', strokeWidth: 0.5, size: 130, opacity: 1 };
const CROSS =
  'M-.15,0L-.85,-.7L-.7,-.85L0,-.15L.7,-.85L.85,-.7L.15,0L.85,.7L.7,.85L0,.15L-.7,.85L-.85,.7Z';
const REFERENCE_STROKE = { shape: 'stroke', size: 300, stroke: MUTED, strokeWidth: 2, opacity: 1 };
const PUBLISHED_POINT = { fill: 'white', stroke: '#6b6b6b', strokeWidth: 1.2, size: 34 };

/**
 * Returns the title of a measure's axis. If several measures share the axis, the title is what
 * their own titles have in common, or else `share` if all are proportions, or else null.
 */
function measureTitle(
  { entry: { against }, frame }: Drawn,
  { title: own }: Measure,
): string | null {
  const { isByMetric, measures } = frame;
  // Returns what all titles have in common; '' for nothing.
  const ofAll = (): string =>
    commonLabel(measures.map(({ title }) => title)) ||
    (measures.every(({ isProportion }) => isProportion) ? 'share' : '');
  const title = isByMetric ? ofAll() : own;
  if (title === '') return null;
  return against === undefined ? title : `${title} − ${against === 'full' ? 'full' : 'clean run'}`;
}

/**
 * Returns layers: a line at zero and, for a proportion, under it a band over ±PROPORTION_MARGIN.
 */
const zeroLayers = ({ isProportion }: Measure, isFlip: boolean): object[] => {
  const [v, v2] = isFlip ? ['x', 'x2'] : ['y', 'y2'];
  const layer = (type: string, color: string, from: number, to?: number) => ({
    data: { values: [{}] },
    mark: { type, color },
    encoding: { [v]: { datum: from }, ...(to !== undefined && { [v2]: { datum: to } }) },
  });
  const band = layer('rect', '#dfe4ea', -PROPORTION_MARGIN, PROPORTION_MARGIN);
  return [...(isProportion ? [band] : []), layer('rule', '#9aa5b1', 0)];
};

/**
 * Returns the channels that tell lines apart, published ones too: colour and, for a print in grey,
 * shape and dash.
 */
function lineChannels(drawn: Drawn, width: number) {
  const { entry, frame, palette, overlays, written } = drawn;
  const labels = distinct(
    overlays.flatMap((one) => [...publishedLines(one, palette.domain).values()]),
  );
  const isStep = frame.x.kind === 'step';
  const isNamedOnAxis =
    frame.x.kind === 'text' && frame.form !== 'line' && !frame.isDodged && overlays.length === 0;
  const named = [...(isNamedOnAxis ? [] : palette.domain), ...labels];
  const references = (isStep ? [] : distinct(frame.references.map(({ metric }) => metric)))
    .map((metric) => ({ name: measureOf(metric).label, mark: referenceMark(metric) }))
    .filter(({ name }) => ![...palette.domain, ...labels].includes(name));
  const values = [...named, ...references.map(({ name }) => name)];
  const room = entry.size ?? width * panelsAbreast(drawn),
    layout = legendLayout(values, room, written.line.short),
    columns = Math.min(entry.size === 'page' ? 5 : 3, layout.columns);
  const look = isStep ? { symbolType: 'stroke', symbolSize: 300 } : { symbolStrokeWidth: 0 };
  // Marks above a panel that has no heading would reach into the legend.
  const hasHeadings = hasPanels(frame, 'row') || hasPanels(frame, 'column'),
    distance = !hasHeadings && (hasDaggers(drawn) || entry.values) && { offset: 20 };
  const legend =
    values.length === 0
      ? null
      : { values, ...layout, columns, symbolOpacity: 1, ...look, ...distance };
  const stroke = isFlipped(drawn) ? 'M-.12,-1H.12V1H-.12Z' : 'M-1,-.12V.12H1V-.12Z';
  // Returns a channel with a value for each line: `range` has the values for the figure's lines,
  // and `others` for published lines; `cross` and `bar` are for the two marks of references.
  const channel = <T>(range: readonly T[], others: readonly T[], cross: T, bar: T) => ({
    ...{ field: 'line', type: 'nominal', title: entry.color?.title ?? null, legend },
    scale: {
      domain: [...palette.domain, ...labels, ...references.map(({ name }) => name)],
      range: [
        ...range,
        ...labels.map((_, i) => others[i % others.length]),
        ...references.map(({ mark }) => (mark === '×' ? cross : bar)),
      ],
    },
  });
  const dash = channel<readonly number[]>(palette.dashes, PUBLISHED_DASHES, SOLID, SOLID);
  return {
    color: channel(palette.range, [GREY], INK, MUTED),
    shape: channel(palette.shapes, PUBLISHED_SHAPES, CROSS, stroke),
    // With a legend, Vega-Lite would also dash the edges of the legend's shapes.
    strokeDash: isStep ? dash : { ...dash, legend: null },
  };
}

/** Parses `#rrggbb` into three numbers from 0 to 1. */
const parseHex = (colour: string): readonly number[] =>
  [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16) / 255);

/**
 * Returns the least share of the way from one colour to a darker one at which white text is easier
 * to read than black: there 1.05/(L + .05) > (L + .05)/.05 for the relative luminance L of WCAG
 * 2.1. The better of the two then has a contrast of at least 4.58. Returns 2 if black is always
 * better.
 */
function whiteFrom([from = '', to = '']: readonly string[]): number {
  const [start, end] = [parseHex(from), parseHex(to)];
  const luminance = (t: number): number =>
    start.reduce((sum, value, i) => {
      const mixed = value + t * ((end[i] ?? 0) - value);
      const linear = mixed <= 0.04045 ? mixed / 12.92 : ((mixed + 0.055) / 1.055) ** 2.4;
      return sum + ([0.2126, 0.7152, 0.0722][i] ?? 0) * linear;
    }, 0);
  const steps = Array.from({ length: 101 }, (_, i) => i / 100);
  return steps.find((t) => (luminance(t) + 0.05) ** 2 < 1.05 * 0.05) ?? 2;
}

function heatLayers(drawn: Drawn, measure: Measure, width: number): object[] {
  const { entry, frame, written } = drawn;
  const [names, rows] = [namesOnX(frame), distinct(frame.points.map(({ line }) => line))];
  const isWorseIfHigh = /(?:^|\.)asr|rate|drop|cost/.test(measure.field);
  const domain = axisDomain(drawn, measure),
    [low, high] = domain;
  const title = sharesTitle(frame) ? null : inRoom(titleOnX(drawn), width);
  const encoding = {
    x: ordinal('x', title, { sort: names, axis: labelsAcross(names, width, written.x) }),
    y: ordinal('line', null, {
      sort: rows,
      axis: {
        ...{ ticks: false, domain: false, labelPadding: 6 },
        ...inLines(rows, Infinity, written.line.short),
      },
    }),
  };
  const range = ['#f4f6f8', isWorseIfHigh ? '#d55e00' : '#0072b2'];
  const color = quantitative('value', null, {
    scale: { domain, interpolate: 'rgb', range },
    legend: {
      title: inRoom(
        measureTitle(drawn, measure) ?? measure.title,
        LEGEND_WIDTHS[entry.size ?? 'own'],
      ),
      ...{ gradientLength: 120, gradientThickness: 8, tickCount: 3 },
      ...(measure.isProportion && { format: '.2~f' }),
    },
  });
  const isDark = `datum.value >= ${low} + ${whiteFrom(range)} * ${high - low}`;
  return [
    { transform: onlyPart('mean'), mark: 'rect', encoding: { ...encoding, color } },
    {
      transform: onlyPart('mean'),
      mark: { type: 'text', fontSize: 12 },
      encoding: {
        ...{ ...encoding, text: { field: 'text', type: 'nominal' } },
        color: { condition: { test: isDark, value: 'white' }, value: 'black' },
      },
    },
  ];
}

/**
 * The most characters of a name that stands beside its row, by the figure's size (`own` if it has
 * none). Longer names stand above their rows.
 */
const BESIDE = { column: 17, page: 17, phone: 17, own: 38 };
const ROW = 24,
  NAME = 15; // heights in pixels

/** Whether any name is too long to stand beside its row, so that all stand above their rows. */
const hasNamesAbove = (drawn: Drawn): boolean =>
  isFlipped(drawn) &&
  drawn.frame.points.some(
    ({ x }) =>
      typeof x === 'string' &&
      codePoints(drawn.written.x.short(x)).length > BESIDE[drawn.entry.size ?? 'own'],
  );

const nameLayer = ({ frame, written }: Drawn) => ({
  transform: [
    ...onlyPart('mean'),
    { aggregate: [{ op: 'count', as: 'n' }], groupby: ['row', 'column', 'panel', 'x'] },
    {
      calculate: `${JSON.stringify(
        Object.fromEntries(namesOnX(frame).map((name) => [name, written.x.short(name)])),
      )}[datum.x]`,
      as: 'name',
    },
  ],
  mark: { type: 'text', align: 'left', baseline: 'middle', dy: -(ROW + NAME) / 2 + 6 },
  encoding: {
    x: { value: 0 },
    y: ordinal('x', null, {
      sort: namesOnX(frame),
      axis: { labels: false, ticks: false, grid: false },
    }),
    text: { field: 'name', type: 'nominal' },
  },
});

const hasPanels = ({ points }: Frame, key: 'row' | 'column'): boolean =>
  points.some((point) => point[key] !== '');

/**
 * Returns a measure for each panel of metrics: each measure that has points or, if all share the
 * panels (`isByMetric`), the first.
 */
const panelMeasures = ({ isByMetric, measures, points }: Frame): readonly Measure[] =>
  isByMetric
    ? measures.slice(0, 1)
    : measures.filter((measure) => points.some((point) => point.measure === measure));

/** The most panels of metrics side by side: one if `facet` has columns or `size` is narrow. */
const mostAbreast = ({ entry: { size = 'page' }, frame }: Drawn): number =>
  size !== 'page' || hasPanels(frame, 'column') ? 1 : 3;

export function panelsAbreast(drawn: Drawn): number {
  const columns = new Set(drawn.frame.points.map(({ column }) => column)).size;
  return columns > 1 ? columns : Math.min(mostAbreast(drawn), panelMeasures(drawn.frame).length);
}

/** Breaks a title into lines of at most `room` pixels. */
const inRoom = (title: string | null, room: number): string[] | null =>
  title === null ? null : wrap(title, Math.floor(room / CHARACTER)).split('\n');

const HEADER = { labelAngle: 0, labelOrient: 'top', labelAnchor: 'start', labelPadding: 3 };

export function figureSpec(drawn: Drawn, width: number): TopLevelSpec {
  const { frame, written } = drawn;
  const { form, x, points } = frame;
  const isFlip = isFlipped(drawn),
    isHeat = form === 'heatmap',
    above = hasNamesAbove(drawn);
  const measures = panelMeasures(frame);
  const ROWS = ROW + (above ? NAME : 0) + (frame.isDodged ? 12 : 0);
  const size = {
    width: isHeat ? { step: width / namesOnX(frame).length } : width,
    height:
      isHeat || (isFlip && x.kind === 'text')
        ? { step: isHeat ? ROW : ROWS, ...(!isHeat && { for: 'position' }) }
        : Math.round(Math.min(180, Math.max(120, width * 0.75))),
  };
  // Returns the facet of panels along rows or columns; false if these have no names.
  const panelsBy = (key: 'row' | 'column', header: object) => {
    const names = distinct(points.map((point) => point[key])),
      room = key === 'row' ? width * panelsAbreast(drawn) : width;
    const lines = inLines(names, Math.floor(room / BOLD_CHARACTER), written[key].short);
    return (
      hasPanels(frame, key) && {
        [key]: nominal(key, null, { sort: names, header: { ...header, ...lines } }),
      }
    );
  };
  const facetOf = (measure: Measure) => {
    const shared = isFlip ? measureTitle(drawn, measure) : titleOnX(drawn),
      title = inRoom(shared, width * panelsAbreast(drawn));
    return {
      ...panelsBy('row', { ...HEADER, title: null }),
      ...panelsBy('column', { title, titleOrient: 'bottom', labelOrient: 'top' }),
    };
  };
  // If x has names, each panel shows only the names that it has, with separate offsets for its
  // lines.
  const scale = isFlip ? { y: 'independent', yOffset: 'independent' } : { x: 'independent' };
  // An unflipped axis, whose width is fixed, would lose the offsets; a flipped axis has a step for
  // each name and keeps them.
  const isOwn = x.kind === 'text' && form === 'point' && (isFlip || !frame.isDodged);
  const resolve = isOwn && { resolve: { scale } };
  // Numbers at the ends of axes side by side reach out of their panels: `1.00` and `0.40`.
  const spacing = { row: 12, column: x.kind === 'text' ? 12 : 36 };
  const columns = mostAbreast(drawn);
  const panels = measures.map((measure, i) => {
    const isTitled = columns > 1 || i === measures.length - 1 || isFlip;
    const layer = isHeat
      ? heatLayers(drawn, measure, width)
      : panelLayers(drawn, measure, width, { isOnly: !measures[1], isTitled });
    const facet = facetOf(measure),
      one = { ...size, layer: above ? [...layer, nameLayer(drawn)] : layer };
    const name = measureTitle(drawn, measure) ?? measure.title;
    const head = { text: inRoom(name, width), fontSize: 12, fontWeight: 'normal' };
    return {
      ...(measures.length > 1 && {
        ...{ title: head, transform: [{ filter: { field: 'panel', equal: measure.field } }] },
      }),
      ...(Object.keys(facet).length > 0 ? { facet, spacing, spec: one, ...resolve } : one),
    };
  });
  const [only = {}] = panels;
  const shape = panels.length === 1 ? only : { concat: panels, columns };
  return { data: { values: dataRows(drawn, width) }, ...shape } as TopLevelSpec;
}
