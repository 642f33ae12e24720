/** The marks of an entry's figure: a frame's points as a Vega-Lite specification. */
import type { TopLevelSpec } from 'vega-lite';
import type { Channel, FigureEntry, Overlay } from '../../api/report.ts';
import { DAGGER } from '../evidence.ts';
import { codePoints } from '../format.ts';
import { distinct, groupBy } from '../groups.ts';
import { type Centred, centred } from '../numbers.ts';
import { PROPORTION_MARGIN } from '../verdict.ts';
import { HOLLOW, keyed, nominal, onlyPart, ordinal, quantitative, seedPoint } from './encode.ts';
import type { Frame, Measure, Point } from './frame.ts';
import { INK, legendColumns, type LinePalette, MUTED } from './theme.ts';

type Row = { readonly [field: string]: unknown };

/** The statistic of the points at one place. */
export interface Mean extends Omit<Point, 'seed' | 'value' | 'other'>, Centred {
  /** Of a scatter plot: the statistic of x, and the ends of its spread. */
  readonly across: Centred | null;
}

/** Without a spread asked for, another statistic than the mean has the range of the values. */
export const spreadOf = ({ statistic = 'mean', spread }: FigureEntry) =>
  spread ?? (statistic === 'mean' ? 'interval' : 'range');

export function meansOf(
  points: readonly Point[],
  entry: FigureEntry,
  kind: Frame['x']['kind'],
): readonly Mean[] {
  const groups = groupBy(points, ({ row, column, line, x, measure: { field }, metric, subject }) =>
    keyed(row, column, line, field, metric, kind === 'metric' ? subject.condition.key : x),
  );
  const of = (values: readonly number[]): Centred =>
    centred(values, spreadOf(entry), entry.statistic);
  return [...groups.values()].map((group) => {
    const [first] = group;
    const across = kind === 'metric' ? of(group.map(({ x }) => Number(x))) : null;
    return {
      ...first,
      ...of(group.map(({ value }) => value)),
      across,
      x: across?.centre ?? first.x,
      reason: group.map(({ reason }) => reason).find((reason) => reason !== null) ?? null,
    };
  });
}

/** What is drawn of an entry: all of a frame, or some of its lines. */
export interface Drawn {
  readonly entry: FigureEntry;
  readonly frame: Frame;
  readonly lines: readonly string[];
  readonly palette: LinePalette;
  readonly overlays: readonly Overlay[];
}

/** Whether x runs upwards. */
export const isFlipped = ({
  entry: { flip },
  frame: { form, x },
}: Pick<Drawn, 'entry' | 'frame'>) => flip ?? (form === 'point' && x.kind === 'text');

/** The mark of a number beside the points: that of another model, or of the same. */
export const referenceMark = (metric: string): '○' | '❘' =>
  /_(?:clean|undefended)(?:\.|$)/.test(metric) ? '○' : '❘';

const written = (value: number, { isProportion }: Measure): string =>
  isProportion ? value.toFixed(3) : String(Number(value.toPrecision(3)));

/** The rows of the figure's table, of which each layer takes a part. */
function tableOf({ entry, frame, overlays, palette }: Drawn): Row[] {
  const { form, x, points, references } = frame;
  const isHeat = form === 'heatmap';
  const at = ({ row, column, line, measure: { field } }: Point | Mean) => ({
    row,
    column,
    line,
    panel: field,
  });
  const means = meansOf(points, entry, x.kind);
  const xs = placesOf(frame, overlays);
  return [
    ...means.flatMap((mean): Row[] => {
      const { centre: value, low, high, across, reason, measure } = mean;
      const ends = { value, low, high, isVoid: reason !== null };
      if (mean.x === null)
        return [xs[0], xs.at(-1)].map((end) => ({ ...at(mean), ...ends, part: 'level', x: end }));
      const text = isHeat
        ? written(value, measure).replace(/^0?\.(\d\d)\d$/, '.$1')
        : written(value, measure);
      return [
        {
          ...at(mean),
          ...ends,
          part: 'mean',
          x: mean.x,
          left: across?.low ?? null,
          right: across?.high ?? null,
          text: isHeat && reason !== null ? `${text} ${DAGGER}` : text,
        },
      ];
    }),
    ...(isHeat ? [] : points).flatMap((point) =>
      point.x === null
        ? []
        : [
            {
              ...at(point),
              part: 'seed',
              x: point.x,
              value: point.value,
              isVoid: point.reason !== null,
              run: `${point.line} ${point.seed}`,
            },
          ],
    ),
    ...meansOf(references, entry, x.kind).map((mean) => ({
      ...at(mean),
      part: referenceMark(mean.metric),
      x: mean.x,
      value: mean.centre,
    })),
    ...overlays.flatMap((overlay) => publishedRows(overlay, frame, palette)),
  ];
}

/** The places on a numeric axis, ascending. */
const placesOf = ({ points }: Frame, overlays: readonly Overlay[]): number[] =>
  distinct(
    [
      ...points.map(({ x }) => x),
      ...overlays.flatMap((one) => one.rows.map((row) => Number(row[one.x]))),
    ].filter((x) => typeof x === 'number'),
  ).sort((a, b) => a - b);

/** Whether a value of an overlay names a panel: `0.1` that of `rate 0.1`. */
const namesPanel = (value: string | undefined, panel: string): boolean =>
  value === undefined || panel === value || panel.endsWith(` ${value}`);

function publishedRows(overlay: Overlay, frame: Frame, { domain, range }: LinePalette) {
  const { rows, spread, color = '', names, label, facet = {} } = overlay;
  const panels = panelsOf(frame.points);
  return rows.flatMap((row) => {
    const value = Number(row[overlay.y]),
      series = row[color] ?? '',
      end = (column: string): number => Number(row[column]);
    const [low, high] =
      spread === undefined
        ? [null, null]
        : typeof spread === 'string'
          ? [value - end(spread), value + end(spread)]
          : spread.map(end);
    return panels
      .filter(
        (panel) =>
          namesPanel(facet.row && row[facet.row], panel.row) &&
          namesPanel(facet.column && row[facet.column], panel.column),
      )
      .map((panel) => ({
        ...panel,
        panel: frame.measures[0]?.field ?? '',
        line: label,
        part: 'published',
        x: frame.x.kind === 'text' ? (row[overlay.x] ?? '') : end(overlay.x),
        value,
        low,
        high,
        run: series,
        ink: range[domain.indexOf(names[series] ?? series)] ?? '#8a8a8a',
      }));
  });
}

export const panelsOf = (points: readonly Point[]) => [
  ...new Map(points.map(({ row, column }) => [keyed(row, column), { row, column }])).values(),
];

/** Half of the least span of an axis, so that values that differ by rounding alone look equal. */
const LEAST_PAD = 0.005;

/** The ends of a measure's axis. */
export function domainOf(
  { entry, frame, overlays }: Drawn,
  measure: Measure,
): readonly [number, number] {
  const index = frame.measures.indexOf(measure),
    own = entry.y[index]?.domain;
  if (own !== undefined) return own;
  const isShown = ({ measure: { field } }: Point): boolean =>
    frame.isByMetric || field === measure.field;
  const seen = [
    ...[...frame.points, ...frame.references].filter(isShown).map(({ value }) => value),
    ...overlays.flatMap(({ rows, y }) => rows.map((row) => Number(row[y]))),
  ];
  const [least, most] = [Math.min(...seen), Math.max(...seen)];
  const pad = Math.max((most - least) * 0.15, Math.abs(most) * 0.01, LEAST_PAD);
  if (entry.against !== undefined) {
    const reach = Math.max(measure.isProportion ? 0.05 : pad, -least, most) * 1.35;
    return [-reach, reach];
  }
  const isBar = frame.form === 'bar';
  if (frame.form === 'heatmap' && measure.isProportion && least >= 0) return [0, 1];
  switch (measure.span) {
    case 'unit':
      return [0, 1];
    case 'to-one':
      return [isBar ? 0 : Math.max(0, Math.floor((least - 0.03) * 10) / 10), 1];
    case 'positive':
      return [0, most + pad];
    case 'from-zero':
      return [Math.min(0, least - pad), Math.max(0, most + pad)];
    case 'points':
      return isBar
        ? [Math.min(0, least - pad), Math.max(0, most + pad)]
        : [least - pad, most + pad];
  }
}

const scaleType = (scale: Channel['scale'] = 'linear', least: number) => {
  if (scale === 'log2') return { type: 'log' as const, base: 2 };
  if (scale === 'symlog') return { type: 'symlog' as const, constant: least };
  return { type: scale === 'log' ? ('log' as const) : ('linear' as const) };
};

/** The type of a numeric axis: logarithmic where positive places span a factor of 20. */
function placeScale({ entry, frame }: Drawn, xs: readonly number[]): Channel['scale'] {
  const { scale } = entry.x;
  if (scale !== undefined) return scale;
  const positive = xs.filter((x) => x > 0),
    [least = 1] = positive,
    most = xs.at(-1) ?? 1;
  if ((xs[0] ?? 0) < 0) return 'linear';
  if (frame.x.isLog2) return 'log2';
  if (most / least < 20) return 'linear';
  return positive.length < xs.length ? 'symlog' : 'log';
}

/** The names on x; numbers ascend. */
function namesOnX({ points }: Frame): string[] {
  const names = distinct(points.map(({ x }) => String(x)));
  return names.every((name) => Number.isFinite(Number(name)))
    ? names.sort((a, b) => Number(a) - Number(b))
    : names;
}

/** The encoding of x. */
function placeEncoding(drawn: Drawn) {
  const { entry, frame, overlays } = drawn;
  const { x } = frame;
  const title = entry.x.title ?? x.title;
  const { domain } = entry.x;
  switch (x.kind) {
    case 'step':
      return quantitative('x', title, {
        scale: { nice: false, ...(domain && { domain }) },
        axis: {
          grid: false,
          tickMinStep: 1,
          format: 'd',
          ...(columnsOf(drawn) > 1 && { tickCount: 5 }),
        },
      });
    case 'metric':
      return quantitative('x', title, { scale: { zero: false, ...(domain && { domain }) } });
    case 'text': {
      const names = namesOnX(frame);
      const isLong = names.some((name) => codePoints(name).length > 8);
      return ordinal('x', title === '' ? null : title, {
        sort: names,
        axis: isFlipped(drawn) ? { grid: false } : { labelAngle: isLong ? -25 : 0, grid: false },
      });
    }
    case 'number': {
      const xs = placesOf(frame, overlays);
      return quantitative('x', title, {
        scale: {
          ...scaleType(placeScale(drawn, xs), xs.find((place) => place > 0) ?? 1),
          zero: false,
          nice: false,
          padding: 12,
          ...(domain && { domain }),
        },
        axis: {
          ...(xs.length <= 9 ? { values: xs } : {}),
          grid: false,
          labelOverlap: true,
          format: '.3~r',
        },
      });
    }
  }
}

/** The most steps that have a dot each on their line. */
const MOST_DOTS = 12;

/** Returns the layers of one panel. */
function layersOf(drawn: Drawn, measure: Measure, isOnly: boolean): object[] {
  const { entry, frame, palette, overlays } = drawn;
  const { form, x, isDodged } = frame;
  const { seeds = true, values = false } = entry;
  const isFlip = isFlipped(drawn);
  const place = placeEncoding(drawn);
  const domain = domainOf(drawn, measure);
  const index = frame.measures.indexOf(measure);
  const least = frame.points.map(({ value }) => value).filter((value) => value > 0);
  const up = (field: string) =>
    quantitative(field, isOnly || isFlip ? titleOf(entry, measure) : null, {
      scale: {
        ...scaleType(
          entry.y[index]?.scale === 'category' ? 'linear' : entry.y[index]?.scale,
          Math.min(1, ...least),
        ),
        domain,
        zero: false,
        nice: false,
      },
    });
  const offset = isDodged
    ? {
        [isFlip ? 'yOffset' : 'xOffset']: {
          field: 'line',
          type: 'nominal',
          scale: { domain: palette.domain },
        },
      }
    : {};
  const at = (from: string, to?: string) => ({
    [isFlip ? 'y' : 'x']: place,
    [isFlip ? 'x' : 'y']: up(from),
    ...(to === undefined ? {} : { [isFlip ? 'x2' : 'y2']: { field: to } }),
    ...offset,
  });
  const { color, shape, strokeDash } = channelsOf(drawn);
  const layer = (part: string, mark: object, encoding: object) => ({
    transform: onlyPart(part),
    mark: { clip: true, ...mark },
    encoding,
  });
  const spread = (opacity: number, strokeWidth = 2) =>
    layer('mean', { type: 'rule', strokeWidth, opacity }, { ...at('low', 'high'), color });
  const orient = isFlip ? 'vertical' : 'horizontal';
  const marked = [
    layer('❘', { type: 'tick', orient, thickness: 2, size: 18, color: MUTED }, at('value')),
    layer(
      '○',
      {
        type: 'point',
        filled: true,
        fill: 'white',
        stroke: INK,
        size: 60,
        strokeWidth: 1.3,
        opacity: 1,
      },
      at('value'),
    ),
  ];
  const seedLayer = (size: number, opacity = 0.85) =>
    layer(
      'seed',
      { ...seedPoint(size, { strokeWidth: 0.5, opacity }) },
      { ...at('value'), color, shape, fillOpacity: HOLLOW },
    );
  const meanPoint = (size: number) =>
    layer(
      'mean',
      { type: 'point', filled: true, size, opacity: 1, strokeWidth: 2 },
      { ...at('value'), color, stroke: { ...color, legend: null }, shape, fillOpacity: HOLLOW },
    );
  const texts = values
    ? [
        layer(
          'mean',
          isFlip
            ? { type: 'text', align: 'left', dx: 8, clip: false, color: INK }
            : { type: 'text', dy: -10, clip: false, color: INK },
          {
            ...at('value'),
            ...(isFlip ? { x: { value: 'width' } } : {}),
            text: { field: 'text', type: 'nominal' },
          },
        ),
      ]
    : [];
  const published = publishedLayers(drawn, at);
  switch (form) {
    case 'line':
      return x.kind === 'step'
        ? [
            ...(seeds
              ? [
                  layer(
                    'seed',
                    {
                      type: 'line',
                      point: placesOf(frame, overlays).length <= MOST_DOTS ? { size: 14 } : false,
                      strokeWidth: 1.4,
                      opacity: 0.8,
                    },
                    { ...at('value'), color, strokeDash, detail: { field: 'run' } },
                  ),
                ]
              : [
                  layer('mean', { type: 'area', opacity: 0.18 }, { ...at('low', 'high'), color }),
                  layer(
                    'mean',
                    { type: 'line', strokeWidth: 2 },
                    { ...at('value'), color, strokeDash },
                  ),
                ]),
            ...published,
          ]
        : [
            layer(
              'level',
              { type: 'line', strokeDash: LEVEL_DASH, strokeWidth: 1.5 },
              { ...at('value'), color },
            ),
            spread(0.45, 1.5),
            layer('mean', { type: 'line', strokeWidth: 2 }, { ...at('value'), color, strokeDash }),
            ...marked,
            seeds ? seedLayer(36) : meanPoint(50),
            ...published,
            ...texts,
          ];
    case 'bar':
      return [
        layer(
          'mean',
          { type: 'bar', opacity: 0.75, stroke: INK, strokeWidth: 0.5 },
          { ...at('value'), color },
        ),
        spread(1, 1.5),
        ...marked,
        seeds ? seedLayer(30) : meanPoint(30),
        ...published,
        ...texts,
      ];
    case 'point':
    case 'heatmap':
      return [
        ...(entry.against === undefined ? [] : zeroLayers(measure, isFlip)),
        spread(0.55),
        ...(x.kind === 'metric'
          ? [
              layer(
                'mean',
                { type: 'rule', strokeWidth: 2, opacity: 0.55 },
                { y: up('value'), x: { ...place, field: 'left' }, x2: { field: 'right' }, color },
              ),
            ]
          : []),
        ...marked,
        ...(seeds && x.kind !== 'metric'
          ? [
              layer(
                'mean',
                { type: 'tick', orient, thickness: 3, size: 16 },
                { ...at('value'), color },
              ),
              seedLayer(60, 0.9),
            ]
          : [...(seeds ? [seedLayer(20, 0.45)] : []), meanPoint(90)]),
        ...published,
        ...texts,
      ];
  }
}

const titleOf = ({ against }: FigureEntry, { title }: Measure): string =>
  against === undefined ? title : `${title} − ${against === 'full' ? 'full' : 'clean run'}`;

/** Dots: levels are no line of their own, so no line has this pattern. */
const LEVEL_DASH = [2, 3];

/** The declared margin, and zero. */
const zeroLayers = ({ isProportion }: Measure, isFlip: boolean): object[] => {
  const [v, v2] = isFlip ? ['x', 'x2'] : ['y', 'y2'];
  return [
    ...(isProportion
      ? [
          {
            data: { values: [{}] },
            mark: { type: 'rect', color: '#dfe4ea' },
            encoding: { [v]: { datum: -PROPORTION_MARGIN }, [v2]: { datum: PROPORTION_MARGIN } },
          },
        ]
      : []),
    {
      data: { values: [{}] },
      mark: { type: 'rule', color: '#9aa5b1' },
      encoding: { [v]: { datum: 0 } },
    },
  ];
};

/** Published numbers: dashed lines in the colour of their line, hollow points with a grey edge. */
function publishedLayers(
  { overlays, frame: { form, x } }: Drawn,
  at: (from: string, to?: string) => object,
): object[] {
  if (overlays.length === 0) return [];
  const ink = { field: 'ink', type: 'nominal', scale: null };
  const layer = (mark: object, encoding: object) => ({
    transform: onlyPart('published'),
    mark: { clip: true, ...mark },
    encoding,
  });
  return [
    layer({ type: 'rule', strokeWidth: 1, opacity: 0.6 }, { ...at('low', 'high'), color: ink }),
    ...(form === 'line'
      ? [
          layer(
            { type: 'line', strokeDash: PUBLISHED_DASH, strokeWidth: 1.2 },
            {
              ...at('value'),
              color: ink,
              detail: { field: 'run' },
              ...(x.kind === 'step' && { order: { field: 'x' } }),
            },
          ),
        ]
      : []),
    layer(
      {
        type: 'point',
        filled: true,
        fill: 'white',
        stroke: '#6b6b6b',
        strokeWidth: 1.2,
        size: 34,
        opacity: 1,
      },
      at('value'),
    ),
  ];
}
const PUBLISHED_DASH = [5, 3];

/** Colour, shape and dash of each line, together, so that a print in grey can be read. */
function channelsOf({ entry, frame, palette, lines, overlays }: Drawn) {
  const labels = distinct(overlays.map(({ label }) => label));
  const domain = [...palette.domain, ...labels];
  const shown = [...lines, ...labels];
  const isNamedOnAxis = frame.x.kind === 'text' && !frame.isDodged && overlays.length === 0;
  const legend = isNamedOnAxis
    ? null
    : {
        values: shown,
        columns: Math.min(entry.size === 'page' ? 5 : 3, legendColumns(shown)),
        symbolOpacity: 1,
      };
  const channel = <T>(range: readonly T[], other: T) => ({
    field: 'line',
    type: 'nominal' as const,
    title: entry.color?.title ?? null,
    scale: { domain, range: [...range, ...labels.map(() => other)] },
    legend,
  });
  return {
    color: channel(palette.range, '#8a8a8a'),
    shape: channel(palette.shapes, 'circle'),
    strokeDash: channel<readonly number[]>(palette.dashes, PUBLISHED_DASH),
  };
}

function heatLayers(
  { frame }: Drawn,
  measure: Measure,
  domain: readonly [number, number],
): object[] {
  const [names, rows] = [namesOnX(frame), distinct(frame.points.map(({ line }) => line))];
  const isBad = /(?:^|\.)asr|rate|drop|cost/.test(measure.field);
  const [low, high] = domain;
  const encoding = {
    x: ordinal('x', frame.x.title === '' ? null : frame.x.title, {
      sort: names,
      scale: { domain: names },
      axis: { labelAngle: names.some((name) => name.length > 6) ? -25 : 0, orient: 'bottom' },
    }),
    y: ordinal('line', null, {
      sort: rows,
      scale: { domain: rows },
      axis: { ticks: false, domain: false, labelPadding: 6 },
    }),
  };
  return [
    {
      mark: 'rect',
      encoding: {
        ...encoding,
        color: quantitative('value', null, {
          scale: {
            domain: [low, high],
            interpolate: 'rgb',
            range: ['#f4f6f8', isBad ? '#d55e00' : '#0072b2'],
          },
          legend: null,
        }),
      },
    },
    {
      mark: { type: 'text', fontSize: 12 },
      encoding: {
        ...encoding,
        text: { field: 'text', type: 'nominal' },
        color: {
          condition: { test: `datum.value > ${low + 0.6 * (high - low)}`, value: 'white' },
          value: INK,
        },
      },
    },
  ];
}

/** Names end where the plot begins. Longer ones have a line of their own above each row. */
const BESIDE = 17;
const ROW = 24,
  NAME = 15;

/** Draws x's names above the rows of a figure that is too narrow for them. */
const namesAbove = (drawn: Drawn): boolean =>
  drawn.entry.size !== undefined &&
  isFlipped(drawn) &&
  drawn.frame.points.some(({ x }) => typeof x === 'string' && codePoints(x).length > BESIDE);

const BLOCK_HEADER = {
  labelAngle: 0,
  labelOrient: 'top',
  labelAnchor: 'start',
  labelPadding: 3,
} as const;

/** How many panels stand side by side. */
export function columnsOf({ frame }: Drawn): number {
  const columns = new Set(frame.points.map(({ column }) => column)).size;
  return columns > 1 ? columns : shownMeasures(frame).length;
}

const shownMeasures = ({ isByMetric, measures, points }: Frame): readonly Measure[] =>
  measures.filter(
    (measure, i) =>
      (i === 0 || !isByMetric) && (isByMetric || points.some((point) => point.measure === measure)),
  );

/**
 * Returns the specification of a figure, with its data.
 * @param width of a panel, in pixels
 */
export function specOf(drawn: Drawn, width: number): TopLevelSpec {
  const { frame } = drawn;
  const { form, x, points } = frame;
  const isFlip = isFlipped(drawn),
    isHeat = form === 'heatmap';
  const measures = shownMeasures(frame);
  const has = (key: 'row' | 'column'): boolean => points.some((point) => point[key] !== '');
  const above = namesAbove(drawn);
  const names = distinct(points.map((point) => String(point.x)));
  const height = Math.round(Math.min(180, Math.max(120, width * 0.75)));
  const size = {
    width: isHeat ? { step: width / names.length } : width,
    height: isHeat
      ? { step: ROW }
      : isFlip && x.kind === 'text'
        ? { step: ROW + (above ? NAME : 0) + (frame.isDodged ? 12 : 0), for: 'position' }
        : height,
  };
  const facet = {
    ...(has('row') && {
      row: nominal('row', { sort: distinct(points.map(({ row }) => row)), header: BLOCK_HEADER }),
    }),
    ...(has('column') && {
      column: nominal('column', { sort: distinct(points.map(({ column }) => column)) }),
    }),
  };
  const panels = measures.map((measure) => {
    const layer = isHeat
      ? heatLayers(drawn, measure, domainOf(drawn, measure))
      : layersOf(drawn, measure, measures.length === 1);
    const one = { ...size, layer: above ? [...layer, nameLayer(drawn)] : layer };
    return {
      ...(measures.length > 1 && {
        title: { text: measure.title, fontSize: 12, fontWeight: 'normal' },
        transform: [{ filter: { field: 'panel', equal: measure.field } }],
      }),
      ...(has('row') || has('column')
        ? { facet, spacing: 12, spec: one, ...(isHeat ? {} : own(isFlip, x.kind)) }
        : one),
    };
  });
  const [only = {}] = panels;
  const data = { values: tableOf(drawn) };
  return (
    panels.length === 1
      ? { data, ...only }
      : { data, [has('column') ? 'vconcat' : 'hconcat']: panels }
  ) as TopLevelSpec;
}

/** Panels have places of their own where these are names. */
const own = (isFlip: boolean, kind: Frame['x']['kind']): Row =>
  kind === 'text' ? { resolve: { scale: { [isFlip ? 'y' : 'x']: 'independent' } } } : {};

const nameLayer = ({ frame: { points } }: Drawn) => ({
  transform: [
    ...onlyPart('mean'),
    { aggregate: [{ op: 'count', as: 'n' }], groupby: ['row', 'column', 'panel', 'x'] },
  ],
  mark: { type: 'text', align: 'left', baseline: 'middle', dy: -(ROW + NAME) / 2 + 6 },
  encoding: {
    x: { value: 0 },
    y: ordinal('x', null, {
      sort: distinct(points.map(({ x }) => String(x))),
      axis: { labels: false, ticks: false, grid: false },
    }),
    text: { field: 'x', type: 'nominal' },
  },
});
