/**
 * Draws tangent kernels as heat maps: the trace over classes, LoRA beside full, rows ordered by
 * class.
 */
import { type Condition, conditionsOf } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { checkpointName, kernelError } from '../fisher.ts';
import { formatNumber } from '../format.ts';
import { adapterTitle, blockLabel } from '../labels.ts';
import type { Checkpoint, Figure, KernelData, ReportCell } from '../types.ts';
import { heatMap, LEFT, SIDE, TOP } from './heat-map.ts';
import { escapeXml, label } from './svg.ts';
import { FONT } from './theme.ts';

/** The most rows of a matrix in the CSV. Larger ones are only in the store's .npy files. */
const MOST_CSV_ROWS = 64;
const GAP = 26;

/** The kernels of a cell with their names, in the order in which they are drawn. */
function kernelsOf({ adapter }: ReportCell) {
  const title = adapterTitle(adapter),
    own = adapter === 'lora' ? 'A and B' : 'its own parameters';
  return [
    { which: 'lora', name: title, heading: `${title} (${own})` },
    { which: 'full', name: 'full', heading: 'full (same layers)' },
  ] as const;
}

/** Σ_c K[i, c, j, c]: (N, C, N, C) → (N, N). */
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

/** Returns the drawn matrices as CSV, with rows and columns in the order of the map. */
const matricesCsv = (
  drawn: readonly { readonly which: string; readonly trace: Float64Array }[],
  order: readonly number[],
  labelOf: (row: number) => number,
): string =>
  toCsv(
    drawn.flatMap(({ which, trace }) =>
      order.map((i) => ({
        kernel: which,
        row: i,
        label: labelOf(i),
        ...Object.fromEntries(
          order.map((j) => {
            const value = trace[i * order.length + j] ?? NaN;
            return [`to_${j}`, Number(value.toPrecision(6))];
          }),
        ),
      })),
    ),
  );

function kernelFigure(
  { cell, checkpoint, title: of }: KernelChoice,
  index: number,
  classes: readonly string[],
): Figure | null {
  const point = cell.kernels[checkpoint];
  const drawn = kernelsOf(cell).flatMap(({ which, name, heading }) => {
    const kernel = point?.kernels[which];
    const error = kernelError(cell, checkpoint, which);
    return kernel
      ? [{ which, name, heading, error, n: kernel.rows, trace: classTrace(kernel) }]
      : [];
  });
  const n = drawn[0]?.n;
  if (!point || n === undefined) return null;
  const labels = Array.from({ length: n }, (_, i) => point.labels[i] ?? 0);
  const labelOf = (i: number): number => labels[i] ?? 0;
  const order = labels.map((_, i) => i).sort((i, j) => labelOf(i) - labelOf(j) || i - j);
  const id = `kernel-${index}`;
  const title = `Tangent kernel, ${of}, seed ${cell.seed}`;
  const errors = drawn.flatMap(({ name, error }) =>
    error === null ? [] : [`${formatNumber(100 * error)}% of its norm (${name})`],
  );
  const width = LEFT + drawn.length * (SIDE + GAP) - GAP + 10,
    height = TOP + SIDE + 40;
  const maps = drawn.map(({ trace, heading, error }, k) =>
    heatMap(
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
    svg: label(svg.join(''), id, title),
    csv: n > MOST_CSV_ROWS ? null : matricesCsv(drawn, order, labelOf),
  };
}

/** Draws a figure for each choice whose kernels were read. */
export const kernelFigures = (
  choices: readonly KernelChoice[],
  classes: readonly string[],
): readonly Figure[] =>
  choices
    .map((choice, index) => kernelFigure(choice, index, classes))
    .filter((figure) => figure !== null);

const MOST_ATTACKS = 3;

export interface KernelChoice {
  readonly cell: ReportCell;
  readonly checkpoint: Checkpoint;
  readonly title: string;
}

/**
 * Chooses one LoRA adapter (the first) and its first seed with results. At initialisation, one
 * kernel is drawn, since the attack plays no part there; after training, one for each attack.
 * @param has whether a cell's kernel stage has finished
 */
export function chooseKernels(
  cells: readonly ReportCell[],
  has: (cell: ReportCell) => boolean,
): readonly KernelChoice[] {
  const finished = conditionsOf(cells, []).flatMap((condition) => {
    const cell = condition.cells.find(has);
    return cell ? [{ condition, cell }] : [];
  });
  const ofAdapter = (test: (condition: Condition) => boolean) =>
    finished.find(({ condition }) => test(condition));
  // LoRA's cells hold both kernels; a grid without any still has the full one.
  const first =
    ofAdapter(({ adapter }) => adapter === 'lora') ??
    ofAdapter(({ adapter }) => adapter !== 'full') ??
    finished[0];
  if (!first) return [];
  const name = first.condition.adapterLabel;
  const alike = finished
    .filter(({ condition }) => condition.adapterLabel === name)
    .slice(0, MOST_ATTACKS);
  return [
    { cell: first.cell, checkpoint: 'init', title: `${name}, ${checkpointName('init')}` },
    ...alike.map(({ condition, cell }) => ({
      cell,
      checkpoint: 'final' as const,
      title: `${name}, ${checkpointName('final')}, ${blockLabel(condition)}`,
    })),
  ];
}
