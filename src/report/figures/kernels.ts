/** The tangent kernel as a heat map: trace over classes, LoRA beside full, rows ordered by class. */
import { checkpointName, kernelError } from '../compare.ts';
import { blockLabel, type Condition, conditionsOf } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { formatNumber } from '../format.ts';
import type { Checkpoint, Figure, KernelData, ReportCell } from '../types.ts';
import { encodePng } from './png.ts';
import { escapeXml, label } from './svg.ts';
import { FONT, INK, MUTED } from './theme.ts';

const MOST_ATTACKS = 3;
const MOST_CSV_ROWS = 64;

export interface KernelChoice {
  readonly cell: ReportCell;
  readonly checkpoint: Checkpoint;
  readonly title: string;
}

/**
 * The few cells whose kernels are drawn, so that no more are read: one LoRA adapter (the first), its first seed with
 * results, at initialisation once (the attack plays no part there) and after training for each attack.
 * `has` says whether a cell's kernel stage has finished.
 */
export function chooseKernels(
  cells: readonly ReportCell[],
  has: (cell: ReportCell) => boolean,
): readonly KernelChoice[] {
  return choose(conditionsOf(cells, []), has);
}

function choose(
  conditions: readonly Condition[],
  has: (cell: ReportCell) => boolean,
): readonly KernelChoice[] {
  const able = conditions.flatMap((condition) => {
    const cell = condition.cells.find(has);
    return cell ? [{ condition, cell }] : [];
  });
  // LoRA cells hold both kernels; a grid without any still has the full one.
  const first =
    able.find(({ condition }) => condition.adapter === 'lora') ??
    able.find(({ condition }) => condition.adapter !== 'full') ??
    able[0];
  if (!first) return [];
  const alike = able
    .filter(({ condition }) => condition.adapterLabel === first.condition.adapterLabel)
    .slice(0, MOST_ATTACKS);
  const name = first.condition.adapterLabel;
  return [
    { cell: first.cell, checkpoint: 'init', title: `${name}, ${checkpointName('init')}` },
    ...alike.map(({ condition, cell }) => ({
      cell,
      checkpoint: 'final' as const,
      title: `${name}, ${checkpointName('final')}, ${blockLabel(condition)}`,
    })),
  ];
}

/** Σ_c K[i,c,j,c]: (N, C, N, C) → (N, N). */
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

type Colour = readonly [number, number, number];

const mix = (from: Colour, to: Colour, t: number): Colour =>
  [0, 1, 2].map((k) => Math.round(from[k]! + (to[k]! - from[k]!) * t)) as unknown as Colour;

/** Blue – white – orange, told apart by colour-blind readers; the middle is zero. */
const DIVERGING = Array.from({ length: 255 }, (_, i) => {
  const t = (i - 127) / 127;
  return mix([255, 255, 255], t < 0 ? [5, 84, 146] : [179, 71, 0], Math.abs(t) ** 0.8); // faint values stay visible
});

/** Viridis (Smith and van der Walt), by nine of its colours. */
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
  return mix(VIRIDIS[k]!, VIRIDIS[k + 1]!, at - k);
});

interface Scale {
  readonly low: number;
  readonly high: number;
  readonly palette: readonly Colour[];
}

/**
 * Values beyond it take an end colour: a few rows of large gradients would leave the rest of one. About zero where there
 * are negative values, else over the range of the values.
 */
function scaleOf(values: Float64Array): Scale {
  const sorted = Float64Array.from(values).sort();
  const quantile = (of: Float64Array, q: number): number => of[Math.round(q * (of.length - 1))]!;
  if (sorted[0]! < 0) {
    const limit = quantile(Float64Array.from(values, Math.abs).sort(), 0.98) || 1;
    return { low: -limit, high: limit, palette: DIVERGING };
  }
  const low = quantile(sorted, 0.01),
    high = quantile(sorted, 0.99);
  return { low, high: high > low ? high : low + 1, palette: SEQUENTIAL };
}

const SIDE = 180,
  LEFT = 34,
  TOP = 46,
  GAP = 26;

function map(
  values: Float64Array,
  order: readonly number[],
  labels: readonly number[],
  classes: readonly string[],
  x: number,
  heading: string,
): string {
  const n = order.length;
  const { low: least, high: most, palette } = scaleOf(values);
  const pixels = new Uint8Array(n * n);
  order.forEach((i, y) =>
    order.forEach((j, column) => {
      pixels[y * n + column] = Math.round(
        254 * Math.max(0, Math.min(1, (values[i * n + j]! - least) / (most - least))),
      );
    }),
  );
  const image = `data:image/png;base64,${encodePng(n, n, pixels, palette).toString('base64')}`;
  const lineColour = palette === DIVERGING ? INK : 'white';
  const edges = order.flatMap((i, at) =>
    at > 0 && labels[i] !== labels[order[at - 1]!] ? [at] : [],
  );
  const lines = edges
    .map((at) => (at / n) * SIDE)
    .map(
      (at) =>
        `<path d="M${x + at} ${TOP}v${SIDE}M${x} ${TOP + at}h${SIDE}" stroke="${lineColour}" stroke-width="1" stroke-dasharray="3 2" fill="none"/>`,
    )
    .join('');
  const starts = [0, ...edges, n];
  const names = starts
    .slice(0, -1)
    .map((start, k) => {
      const middle = ((start + starts[k + 1]!) / 2 / n) * SIDE;
      const name = escapeXml(
        shortName(classes[labels[order[start]!]!] ?? String(labels[order[start]!] ?? '')),
      );
      const side =
        x === LEFT
          ? `<text transform="translate(${x - 8} ${TOP + middle}) rotate(-90)" text-anchor="middle" font-size="11" fill="${INK}">${name}</text>`
          : '';
      return `<text x="${x + middle}" y="${TOP - 6}" text-anchor="middle" font-size="11" fill="${INK}">${name}</text>${side}`;
    })
    .join('');
  const bar = `data:image/png;base64,${encodePng(
    255,
    1,
    Uint8Array.from({ length: 255 }, (_, i) => i),
    palette,
  ).toString('base64')}`;
  const low = TOP + SIDE + 10;
  return (
    `<text x="${x}" y="16" font-size="12.5" font-weight="600" fill="${INK}">${escapeXml(heading)}</text>` +
    `<image x="${x}" y="${TOP}" width="${SIDE}" height="${SIDE}" preserveAspectRatio="none" style="image-rendering:pixelated" href="${image}"/>` +
    `<rect x="${x}" y="${TOP}" width="${SIDE}" height="${SIDE}" fill="none" stroke="#9aa5b1"/>${lines}${names}` +
    `<image x="${x}" y="${low}" width="${SIDE}" height="8" preserveAspectRatio="none" href="${bar}"/>` +
    ['start', 'middle', 'end']
      .map(
        (anchor, k) =>
          `<text x="${x + (SIDE * k) / 2}" y="${low + 22}" text-anchor="${anchor}" font-size="11" fill="${MUTED}">${formatNumber([least, (least + most) / 2, most][k])}</text>`,
      )
      .join('')
  );
}

const shortName = (name: string): string => (name.length > 18 ? `${name.slice(0, 17)}…` : name);

export function kernelFigures(
  choices: readonly KernelChoice[],
  classes: readonly string[],
): Figure[] {
  return choices.flatMap(({ cell, checkpoint, title: of }, index): Figure[] => {
    const point = cell.kernels[checkpoint];
    const drawn = (['lora', 'full'] as const).flatMap((which) => {
      const kernel = point?.kernels[which];
      return kernel ? [{ which, n: kernel.rows, trace: classTrace(kernel) }] : [];
    });
    const n = drawn[0]?.n;
    if (!point || n === undefined) return [];
    const labels = Array.from({ length: n }, (_, i) => point.labels[i] ?? 0);
    const order = labels.map((_, i) => i).sort((i, j) => labels[i]! - labels[j]! || i - j);
    const id = `kernel-${index}`;
    const title = `Tangent kernel, ${of}, seed ${cell.seed}`;
    const errors = drawn.flatMap(({ which }) => {
      const error = kernelError(cell, checkpoint, which);
      return error === null
        ? []
        : [`${formatNumber(100 * error)}% of its norm (${which === 'lora' ? 'LoRA' : 'full'})`];
    });
    const estimates =
      errors.length === 0
        ? ''
        : ` Estimates from projected gradients, with a standard error of ${errors.join(' and ')}.`;
    const width = LEFT + drawn.length * (SIDE + GAP) - GAP + 10,
      height = TOP + SIDE + 40;
    const body = drawn
      .map(({ which, trace }, k) =>
        map(
          trace,
          order,
          labels,
          classes,
          LEFT + k * (SIDE + GAP),
          `${which === 'lora' ? 'LoRA (A and B)' : 'full (same layers)'}${kernelError(cell, checkpoint, which) === null ? '' : ', estimate'}`,
        ),
      )
      .join('');
    return [
      {
        id,
        title,
        caption: `Σ over classes of K[i, c, j, c] for ${n} rows, ordered by class (dashed: class boundary). Each map has its own scale, about zero where there are negative values; values beyond its ends (2% at most) take the end colour.${estimates}`,
        svg: label(
          `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${escapeXml(FONT)}"><rect width="${width}" height="${height}" fill="white"/>${body}</svg>`,
          id,
          title,
        ),
        // A matrix a kernel; larger ones are in the store's .npy files alone.
        csv:
          n > MOST_CSV_ROWS
            ? null
            : toCsv(
                drawn.flatMap(({ which, trace }) =>
                  order.map((i) => ({
                    kernel: which,
                    row: i,
                    label: labels[i]!,
                    ...Object.fromEntries(
                      order.map((j) => [`to_${j}`, Number(trace[i * n + j]!.toPrecision(6))]),
                    ),
                  })),
                ),
              ),
      },
    ];
  });
}
