/**
 * Curves of single cells: eigenvalues of the true Fisher information and of the kernel itself, on a
 * logarithmic axis; and the ROC of defences that give scores.
 */
import type { TopLevelSpec } from 'vega-lite';
import { type Condition, startLabel } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { checkpointName, lastFisher, withLora } from '../fisher.ts';
import { formatNumber, list } from '../format.ts';
import { distinct, groupBy } from '../groups.ts';
import { blockLabel, DEFENCE } from '../labels.ts';
import type { Checkpoint, Figure, Parametrisation, ReportCell } from '../types.ts';
import {
  drawFigure,
  idsFor,
  joinLabels,
  KERNEL_DASH,
  KERNELS,
  leftOut,
  nominal,
  quantitative,
  strokeColour,
  takeFirst,
  varies,
} from './encode.ts';
import { adapterPalette, legendLayout, linePalette, type Palette } from './theme.ts';

const MOST_ATTACKS = 3;
const MOST_LINES = 5;
const MOST_POINTS = 128;

/**
 * Returns the indexes of the points to draw: all, or MOST_POINTS evenly spaced ones, ends included.
 */
function evenIndexes(count: number): number[] {
  const length = Math.min(count, MOST_POINTS);
  return Array.from({ length }, (_, i) => Math.round((i * (count - 1)) / Math.max(1, length - 1)));
}

/** Returns powers of ten over the range of the values, at most nine. */
function axisDecades(values: readonly number[]): number[] {
  const low = Math.floor(Math.log10(Math.min(...values))),
    high = Math.ceil(Math.log10(Math.max(...values)));
  const step = Math.ceil((high - low + 1) / 9);
  return Array.from(
    { length: Math.floor((high - low) / step) + 1 },
    (_, i) => 10 ** (low + i * step),
  );
}

type CurvePoint = ReturnType<typeof kernelCurves>[number];

/** Returns a cell's eigenvalues; null if it has none. */
type Eigenvalues = (cell: ReportCell, of: Parametrisation) => readonly number[] | null;

interface Panel {
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  /** The names of blocks that no figure of these eigenvalues shows; only one figure names them. */
  readonly others: readonly string[];
  readonly conditions: readonly Condition[];
  readonly eigenvalues: Eigenvalues;
}

/**
 * Returns the positive eigenvalues of LoRA's kernel and of the full one as points of two lines, for
 * the first seed that has a LoRA kernel; [] if none has one.
 * @param line the condition's name in the legend
 */
function kernelCurves(condition: Condition, line: string, eigenvalues: Eigenvalues) {
  const cell = condition.cells.find((one) => eigenvalues(one, 'lora'));
  if (cell === undefined) return [];
  return KERNELS.flatMap(({ of, name }) => {
    const all = eigenvalues(cell, of) ?? [];
    return evenIndexes(all.length)
      .map((i) => ({
        adapter: condition.adapterLabel,
        setting: startLabel(condition),
        line,
        kernel: name,
        run: `${line} ${of}`,
        seed: cell.seed,
        index: i + 1,
        eigenvalue: all[i] ?? 0,
      }))
      .filter(({ eigenvalue }) => eigenvalue > 0);
  });
}

/**
 * Returns the figure of eigenvalues by their number, in descending order, on a logarithmic axis.
 */
const curveSpec = (values: CurvePoint[], color: ReturnType<typeof strokeColour>): TopLevelSpec => ({
  width: 350,
  height: 220,
  data: { values },
  mark: { type: 'line', strokeWidth: 1.8, point: { size: 12, filled: true } },
  encoding: {
    x: quantitative('index', 'eigenvalue number', {
      axis: { grid: false, tickMinStep: 1 },
      scale: { zero: false, nice: false },
    }),
    y: quantitative('eigenvalue', 'λ', {
      scale: { type: 'log' as const },
      axis: {
        values: axisDecades(values.map(({ eigenvalue }) => eigenvalue)),
        labelExpr: "'1e' + round(log(datum.value) / LN10)",
      },
    }),
    color,
    strokeDash: KERNEL_DASH,
    detail: { field: 'run' },
  },
});

/** Draws the first conditions' curves; null if none of them has eigenvalues of a LoRA kernel. */
async function panelFigure(
  { id, title, caption, others, conditions, eigenvalues }: Panel,
  palette: Palette,
): Promise<Figure | null> {
  const { shown, left } = takeFirst(conditions, MOST_LINES);
  const hasSettings = varies(conditions.map(startLabel));
  const lineLabel = (condition: Condition): string =>
    hasSettings
      ? joinLabels(condition.adapterLabel, startLabel(condition))
      : condition.adapterLabel;
  const values = shown.flatMap((condition) =>
    kernelCurves(condition, lineLabel(condition), eigenvalues),
  );
  if (values.length === 0) return null;
  const lines = distinct(values.map(({ line }) => line)),
    seeds = distinct(values.map(({ seed }) => String(seed)));
  return drawFigure(
    { id, title },
    [
      `${caption} ${seeds.length > 1 ? 'Seeds' : 'Seed'} ${list(seeds)}. Solid: LoRA’s kernel. `,
      'Dashed: the same layers in full, at that adapter’s weights.',
      leftOut(distinct(left.map(lineLabel)), hasSettings ? 'condition' : 'adapter'),
      leftOut(others, 'attack condition'),
    ],
    curveSpec(values, strokeColour(linePalette(lines, groupBy(conditions, lineLabel), palette))),
    toCsv(values.map(({ line: _line, run: _run, ...row }) => row)),
  );
}

const countedEigenvalues =
  (checkpoint: Checkpoint): Eigenvalues =>
  (cell, of) => {
    const facts = cell.fisher[checkpoint]?.[of]?.true;
    return facts ? facts.spectrum.slice(0, facts.count) : null;
  };

/** Eigenvalues of a float32 kernel below this share of the largest one are rounding errors. */
const ROUNDING = 1e-7;
const eigenvaluesAboveRounding =
  (checkpoint: Checkpoint): Eigenvalues =>
  (cell, of) => {
    const spectrum = cell.kernelSpectra[checkpoint]?.[of];
    if (spectrum === undefined) return null;
    const [largest = 0] = spectrum;
    return spectrum.filter((value) => value > ROUNDING * largest);
  };

/**
 * Says at or below which share of the largest an eigenvalue counts as zero: `1e-6·λmax`, or
 * `tolerance·λmax` if the share differs between cells.
 */
function fisherCaption(conditions: readonly Condition[]): string {
  const [tolerance, ...others] = distinct(
    conditions
      .flatMap(({ cells }) => cells)
      .flatMap((cell) => lastFisher(cell)?.full?.true?.tolerance ?? []),
  );
  const share =
    tolerance === undefined || others.length > 0 ? 'tolerance' : formatNumber(tolerance);
  return `True Fisher. Eigenvalues at or below ${share}·λmax count as zero and are not drawn.`;
}

/**
 * Draws the spectra of the Fisher information and of the kernels, as training starts and after it.
 * Null stands for a figure with nothing to show.
 */
export async function spectrumFigures(
  conditions: readonly Condition[],
): Promise<readonly (Figure | null)[]> {
  const caption = fisherCaption(conditions);
  const init = withLora(conditions, 'init');
  const all = [...groupBy(withLora(conditions, 'final'), blockLabel)],
    { shown: blocks, left } = takeFirst(all, MOST_ATTACKS);
  const [first, ...others] = all;
  const namesOf = (some: typeof all): string[] => some.map(([block]) => block);
  const ids = idsFor('spectrum-final', namesOf(blocks));
  const fisherPanel = (
    id: string,
    checkpoint: 'init' | 'final',
    of: readonly Condition[],
    more: string,
    leftBlocks: typeof all = [],
  ): Panel => ({
    id,
    title: `Fisher spectrum, ${checkpointName(checkpoint)}${more}`,
    caption,
    others: namesOf(leftBlocks),
    conditions: of,
    eigenvalues: countedEigenvalues(checkpoint),
  });
  const kernelPanel = (
    checkpoint: 'init' | 'final',
    of: readonly Condition[],
    more: string,
    leftBlocks: typeof all = [],
  ): Panel => ({
    id: `kernel-spectrum-${checkpoint}`,
    title: `Kernel spectrum, ${checkpointName(checkpoint)}${more}`,
    caption:
      'Eigenvalues of the tangent kernel itself, those above 1e-7 of the largest (rounding errors ' +
      'are below).',
    others: namesOf(leftBlocks),
    conditions: of,
    eigenvalues: eigenvaluesAboveRounding(checkpoint),
  });
  const panels: readonly Panel[] = [
    fisherPanel('spectrum-init', 'init', init, ''),
    ...blocks.map(([block, of], i) =>
      fisherPanel(ids[i] ?? '', 'final', of, `, ${block}`, i === 0 ? left : []),
    ),
    kernelPanel('init', init, ''),
    kernelPanel('final', first?.[1] ?? [], first === undefined ? '' : `, ${first[0]}`, others),
  ];
  const palette = adapterPalette(conditions);
  const figures: (Figure | null)[] = [];
  for (const panel of panels) figures.push(await panelFigure(panel, palette));
  return figures;
}

/** Returns the points of each cell's ROC curves, each with the name of its line in the legend. */
const rocPoints = (conditions: readonly Condition[]) =>
  conditions.flatMap((condition) => {
    const { setting } = condition.labelsWithout(DEFENCE);
    return condition.cells.flatMap(({ seed, roc = {} }) =>
      Object.entries(roc).flatMap(([of, points]) => {
        const judge = `${condition.defence} (${of === 'filter' ? 'training rows' : of})`;
        const line = joinLabels(judge, setting);
        return points.map(([falsePositiveRate, truePositiveRate]) => ({
          attack: condition.attackLabel,
          adapter: condition.adapterLabel,
          setting,
          seed,
          defence: condition.defence,
          judge,
          line,
          run: `${line} ${condition.adapterLabel} ${seed}`,
          falsePositiveRate,
          truePositiveRate,
        }));
      }),
    );
  });

/** Gives a defence's first line the look that the defence has in figures of the grid. */
function rocPalette(
  points: ReturnType<typeof rocPoints>,
  conditions: readonly Condition[],
): Palette {
  const ofDefence = groupBy(conditions, ({ defence }) => defence),
    lines = new Map(points.map(({ line, defence }) => [line, ofDefence.get(defence) ?? []]));
  const firstLine = (name: string): string =>
    points.find(({ defence }) => defence === name)?.line ?? name;
  const all = new Map([
    ...[...ofDefence].map(([defence, of]) => [firstLine(defence), of] as const),
    ...lines,
  ]);
  return linePalette([...lines.keys()], all, adapterPalette(conditions));
}

const rocSpec = (
  points: ReturnType<typeof rocPoints>,
  { domain, range }: Palette,
): TopLevelSpec => ({
  data: { values: points },
  facet: { column: { field: 'attack', type: 'nominal', title: null } },
  spec: {
    width: 230,
    height: 230,
    mark: { type: 'line', strokeWidth: 1.6, opacity: 0.8 },
    encoding: {
      x: quantitative('falsePositiveRate', 'clean rows suspected', { scale: { domain: [0, 1] } }),
      y: quantitative('truePositiveRate', 'poisoned rows suspected', {
        scale: { domain: [0, 1] },
      }),
      color: nominal('line', null, {
        scale: { domain, range },
        legend: { orient: 'bottom' as const, ...legendLayout(domain), labelLimit: 0 },
      }),
      detail: { field: 'run' },
      order: { field: 'falsePositiveRate' },
    },
  },
});

/** Draws the ROC curves of defences; null if no defence gives scores. */
export async function rocFigure(conditions: readonly Condition[]): Promise<Figure | null> {
  const points = rocPoints(conditions);
  if (points.length === 0) return null;
  const title = 'Detection, from the threshold that suspects nothing to that which suspects all';
  return drawFigure(
    { id: 'defences-roc', title },
    ['One line for each adapter and seed. A line along the diagonal is guessing.'],
    rocSpec(points, rocPalette(points, conditions)),
    toCsv(
      points.map(({ attack, judge, adapter, setting, seed, ...rates }) => ({
        ...{ attack, defence: judge, adapter, setting, seed },
        false_positive_rate: rates.falsePositiveRate,
        true_positive_rate: rates.truePositiveRate,
      })),
    ),
  );
}
