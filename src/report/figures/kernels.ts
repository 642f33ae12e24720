/** Draws tangent kernels as heat maps of their traces over classes, LoRA's beside the full one. */
import { deflateSync } from 'node:zlib';
import { type Condition, conditionsOf, startLabel } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { checkpointName, kernelError } from '../fisher.ts';
import { formatNumber } from '../format.ts';
import { adapterTitle, blockLabel } from '../labels.ts';
import type { Checkpoint, Figure, KernelData, ReportCell } from '../types.ts';
import { escapeXml, idsFor, joinLabels, labelSvg } from './encode.ts';
import { FONT, INK, MUTED } from './theme.ts';

/** The most rows of a matrix in the CSV. Larger ones are only in the store's .npy files. */
const MOST_CSV_ROWS = 64;
const GAP = 26;

function kernelTitles({ adapter }: ReportCell) {
  const title = adapterTitle(adapter),
    own = adapter === 'lora' ? 'A and B' : 'its own parameters';
  return [
    { which: 'lora', name: title, heading: `${title} (${own})` },
    { which: 'full', name: 'full', heading: 'full (same layers)' },
  ] as const;
}

/**
 * Returns Σ_c K[i, c, j, c], over the C classes, for each two of the N rows: (N, N), row by row.
 */
export function classTrace({ rows, classes, data }: KernelData): Float64Array {
  const trace = new Float64Array(rows * rows);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < rows; j++) {
      let sum = 0;
      for (let c = 0; c < classes; c++) sum += data[((i * classes + c) * rows + j) * classes + c]!;
      trace[i * rows + j] = sum;
    }
  return trace;
}

/** Writes a line for each row of each (N, N) kernel, with rows and columns in the given order. */
const matricesCsv = (
  drawn: readonly { readonly which: string; readonly trace: Float64Array }[],
  order: readonly number[],
  rowLabel: (row: number) => number,
): string =>
  toCsv(
    drawn.flatMap(({ which, trace }) =>
      order.map((i) => ({
        kernel: which,
        row: i,
        label: rowLabel(i),
        ...Object.fromEntries(
          order.map((j) => {
            const value = trace[i * order.length + j] ?? NaN;
            return [`to_${j}`, Number(value.toPrecision(6))];
          }),
        ),
      })),
    ),
  );

/** Draws a cell's kernels side by side; null if none is stored at the checkpoint. */
function kernelFigure(
  { id, cell, checkpoint, title: of }: KernelChoice,
  classes: readonly string[],
): Figure | null {
  const point = cell.kernels[checkpoint];
  const drawn = kernelTitles(cell).flatMap(({ which, name, heading }) => {
    const kernel = point?.kernels[which];
    const error = kernelError(cell, checkpoint, which);
    return kernel
      ? [{ which, name, heading, error, n: kernel.rows, trace: classTrace(kernel) }]
      : [];
  });
  const n = drawn[0]?.n;
  if (!point || n === undefined) return null;
  const labels = Array.from({ length: n }, (_, i) => point.labels[i] ?? 0);
  const rowLabel = (i: number): number => labels[i] ?? 0;
  const order = labels.map((_, i) => i).sort((i, j) => rowLabel(i) - rowLabel(j) || i - j);
  const title = `Tangent kernel, ${of}, seed ${cell.seed}`;
  const errors = drawn.flatMap(({ name, error }) =>
    error === null ? [] : [`${formatNumber(100 * error)}% of its norm (${name})`],
  );
  const width = LEFT + drawn.length * (SIDE + GAP) - GAP + 10,
    height = TOP + SIDE + 40;
  const maps = drawn.map(({ trace, heading, error }, k) =>
    drawHeatMap(
      {
        heading: `${heading}${error === null ? '' : ', estimate'}`,
        values: trace,
        order,
        labels,
        classes: point.outputs === undefined ? classes : [''],
      },
      LEFT + k * (SIDE + GAP),
    ),
  );
  const caption = [
    point.outputs === undefined
      ? `Σ over classes of K[i, c, j, c] for ${n} rows, ordered by class (dashed: class boundary). `
      : `K[i, j] of ${point.outputs} for ${n} rows, in the order of rows.json. `,
    'Each map has its own scale, centred on zero if there are negative values; values beyond its ',
    'ends (2% at most) take the end colour.',
    errors.length === 0
      ? ''
      : ` Estimates from projected gradients, with a standard error of ${errors.join(' and ')}.`,
  ];
  const svg = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" `,
    `viewBox="0 0 ${width} ${height}" font-family="${escapeXml(FONT)}">`,
    `<rect width="${width}" height="${height}" fill="white"/>${maps.join('')}</svg>`,
  ];
  return {
    id,
    title,
    caption: caption.join(''),
    svg: labelSvg(svg.join(''), id, title),
    csv: n > MOST_CSV_ROWS ? null : matricesCsv(drawn, order, rowLabel),
  };
}

export const kernelFigures = (
  choices: readonly KernelChoice[],
  classes: readonly string[],
): readonly Figure[] =>
  choices.map((choice) => kernelFigure(choice, classes)).filter((figure) => figure !== null);

const MOST_ATTACKS = 3;

export interface KernelChoice {
  /** The figure's. */
  readonly id: string;
  readonly cell: ReportCell;
  readonly checkpoint: Checkpoint;
  readonly title: string;
}

/**
 * Chooses the kernels to draw. All are of one adapter: the first LoRA, or else the first other
 * adapter, or else full fine-tuning. One is at initialisation, where the attack plays no part. The
 * others are after training, one for each of the adapter's first conditions. Each is taken at the
 * condition's first seed with a kernel. Returns [] if no cell has a kernel.
 */
export function chooseKernels(
  cells: readonly ReportCell[],
  hasKernel: (cell: ReportCell) => boolean,
): readonly KernelChoice[] {
  const finished = conditionsOf(cells, []).flatMap((condition) => {
    const cell = condition.cells.find(hasKernel);
    return cell ? [{ condition, cell }] : [];
  });
  const findFirst = (test: (condition: Condition) => boolean) =>
    finished.find(({ condition }) => test(condition));
  // A cell of LoRA, or else of another adapter, may hold the adapter's kernel beside the full one.
  // A fully fine-tuned cell holds only the full one.
  const first =
    findFirst(({ adapter }) => adapter === 'lora') ??
    findFirst(({ adapter }) => adapter !== 'full') ??
    finished[0];
  if (!first) return [];
  const { adapterLabel: name } = first.condition;
  const alike = finished
    .filter(({ condition }) => condition.adapterLabel === name)
    .slice(0, MOST_ATTACKS);
  const ids = idsFor(
    'kernel-final',
    alike.map(({ condition }) => blockLabel(condition)),
  );
  return [
    {
      id: 'kernel-init',
      cell: first.cell,
      checkpoint: 'init',
      title: `${joinLabels(name, startLabel(first.condition))}, ${checkpointName('init')}`,
    },
    ...alike.map(({ condition, cell }, i) => ({
      id: ids[i] ?? '',
      cell,
      checkpoint: 'final' as const,
      title: `${name}, ${checkpointName('final')}, ${blockLabel(condition)}`,
    })),
  ];
}

/** (1 − t)·from + t·to, rounded. */
const mixColours = (from: Colour, to: Colour, t: number): Colour =>
  from.map((value, i) => Math.round(value + (to[i]! - value) * t));

/** Blue – white – orange, which colour-blind readers can tell apart; the middle is zero. */
const DIVERGING = Array.from({ length: 255 }, (_, i) => {
  const t = (i - 127) / 127;
  const end: Colour = t < 0 ? [5, 84, 146] : [179, 71, 0];
  // The power keeps faint values visible.
  return mixColours([255, 255, 255], end, Math.abs(t) ** 0.8);
});

/** Viridis (Smith and van der Walt), given by nine of its colours. */
const VIRIDIS: readonly Colour[] = [
  [68, 1, 84],
  [71, 44, 122],
  [59, 81, 139],
  [44, 113, 142],
  [33, 144, 141],
  [39, 173, 129],
  [92, 200, 99],
  [170, 220, 50],
  [253, 231, 37],
];
const SEQUENTIAL = Array.from({ length: 255 }, (_, i) => {
  const at = (i / 254) * 8,
    k = Math.min(7, Math.floor(at));
  return mixColours(VIRIDIS[k]!, VIRIDIS[k + 1]!, at - k);
});

type Scale = ReturnType<typeof chooseScale>;

/**
 * Returns the scale of a map: centred on zero if there are negative values, else from the 1% to the
 * 99% quantile. Values beyond take the end colours; otherwise a few rows with large gradients would
 * leave all the rest in one colour.
 */
function chooseScale(values: Float64Array) {
  const quantile = (sorted: Float64Array, q: number): number =>
    sorted[Math.round(q * (sorted.length - 1))] ?? 0;
  const sorted = Float64Array.from(values).sort();
  if (quantile(sorted, 0) < 0) {
    const limit = quantile(Float64Array.from(values, Math.abs).sort(), 0.98) || 1;
    return { low: -limit, high: limit, palette: DIVERGING };
  }
  const low = quantile(sorted, 0.01),
    high = quantile(sorted, 0.99);
  return { low, high: high > low ? high : low + 1, palette: SEQUENTIAL };
}

/** The side of a map, and the margins for the classes' names, in pixels. */
const SIDE = 180,
  LEFT = 34,
  TOP = 46;

interface HeatMap {
  readonly heading: string;
  /** Row by row, (N, N). */
  readonly values: Float64Array;
  /** The indexes of the rows in the order in which they are drawn. */
  readonly order: readonly number[];
  readonly labels: readonly number[];
  readonly classes: readonly string[];
}

const pngUri = (
  width: number,
  height: number,
  pixels: Uint8Array,
  palette: readonly Colour[],
): string =>
  `data:image/png;base64,${encodePng(width, height, pixels, palette).toString('base64')}`;

const shortName = (name: string): string => (name.length > 18 ? `${name.slice(0, 17)}…` : name);

/** Draws a text. `place` is the attributes that place it; `content` must be escaped already. */
const svgText = (place: string, content: string, anchor: string, fill: string): string =>
  `<text ${place} text-anchor="${anchor}" font-size="11" fill="${fill}">${content}</text>`;

function drawMatrix({ values, order }: HeatMap, { low, high, palette }: Scale): string {
  const n = order.length;
  const pixels = new Uint8Array(n * n);
  for (const [y, i] of order.entries())
    for (const [x, j] of order.entries()) {
      const share = (values[i * n + j]! - low) / (high - low);
      pixels[y * n + x] = Math.round(254 * Math.max(0, Math.min(1, share)));
    }
  return pngUri(n, n, pixels, palette);
}

/** Draws dashed lines between classes, and names above and, for the first map, at the left. */
function drawClassMarks(
  { order, labels, classes }: HeatMap,
  x: number,
  lineColour: string,
): string {
  const n = order.length;
  const classAt = (at: number): number => labels[order[at] ?? 0] ?? 0;
  const edges = order.flatMap((_, at) => (at > 0 && classAt(at) !== classAt(at - 1) ? [at] : []));
  const lines = edges
    .map((edge) => (edge / n) * SIDE)
    .map(
      (at) =>
        `<path d="M${x + at} ${TOP}v${SIDE}M${x} ${TOP + at}h${SIDE}" stroke="${lineColour}" ` +
        'stroke-width="1" stroke-dasharray="3 2" fill="none"/>',
    );
  const starts = [0, ...edges];
  const names = starts.map((start, k) => {
    const end = starts[k + 1] ?? n;
    const middle = ((start + end) / 2 / n) * SIDE;
    const name = escapeXml(shortName(classes[classAt(start)] ?? String(classAt(start))));
    const above = svgText(`x="${x + middle}" y="${TOP - 6}"`, name, 'middle', INK);
    const turned = `transform="translate(${x - 8} ${TOP + middle}) rotate(-90)"`;
    return `${above}${x === LEFT ? svgText(turned, name, 'middle', INK) : ''}`;
  });
  return `${lines.join('')}${names.join('')}`;
}

/** Draws the colours of a scale below its map, whose left edge is at `x` pixels. */
function drawScaleBar({ low, high, palette }: Scale, x: number): string {
  const top = TOP + SIDE + 10;
  const every = Uint8Array.from({ length: 255 }, (_, i) => i);
  const values = [low, (low + high) / 2, high];
  const numbers = ['start', 'middle', 'end'].map((anchor, k) =>
    svgText(`x="${x + (SIDE * k) / 2}" y="${top + 22}"`, formatNumber(values[k]), anchor, MUTED),
  );
  return (
    `<image x="${x}" y="${top}" width="${SIDE}" height="8" preserveAspectRatio="none" ` +
    `href="${pngUri(255, 1, every, palette)}"/>${numbers.join('')}`
  );
}

/** Draws a map with its heading and scale, its left edge at `x` pixels. */
function drawHeatMap(map: HeatMap, x: number): string {
  const scale = chooseScale(map.values);
  const lineColour = scale.palette === DIVERGING ? INK : 'white';
  const box = `x="${x}" y="${TOP}" width="${SIDE}" height="${SIDE}"`;
  return [
    `<text x="${x}" y="16" font-size="12.5" font-weight="600" fill="${INK}">`,
    `${escapeXml(map.heading)}</text>`,
    `<image ${box} preserveAspectRatio="none" style="image-rendering:pixelated" `,
    `href="${drawMatrix(map, scale)}"/>`,
    `<rect ${box} fill="none" stroke="#9aa5b1"/>`,
    drawClassMarks(map, x, lineColour),
    drawScaleBar(scale, x),
  ].join('');
}

/** Red, green and blue, 0–255 each. */
type Colour = readonly number[];

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

/** The CRC-32 of the PNG specification, Annex D. (node:zlib has it from Node 20.15 on only.) */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

function pngChunk(type: string, body: Uint8Array): Buffer {
  const named = Buffer.concat([Buffer.from(type, 'latin1'), body]);
  const out = Buffer.alloc(8 + named.length);
  out.writeUInt32BE(body.length, 0);
  named.copy(out, 4);
  out.writeUInt32BE(crc32(named), 4 + named.length);
  return out;
}

/**
 * Returns a picture as a PNG with a palette.
 * @param pixels (height, width) indexes into the palette of at most 256 colours, row by row
 */
export function encodePng(
  width: number,
  height: number,
  pixels: Uint8Array,
  palette: readonly Colour[],
): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 3, 0, 0, 0], 8); // 8-bit indexes, palette, deflate, no filter choice, no interlace
  const lines = Buffer.alloc(height * (width + 1)); // each line starts with its filter: 0 is none
  for (let y = 0; y < height; y++)
    lines.set(pixels.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    pngChunk('IHDR', header),
    pngChunk('PLTE', Uint8Array.from(palette.flat())),
    pngChunk('IDAT', deflateSync(lines, { level: 9 })),
    pngChunk('IEND', new Uint8Array(0)),
  ]);
}
