/** Eigenvalues of the true Fisher information, on a logarithmic axis. */
import type { TopLevelSpec } from 'vega-lite';
import { checkpointName, lastFisher, withLora } from '../compare.ts';
import { blockLabel, type Condition } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { formatNumber } from '../format.ts';
import type { Checkpoint, Figure, Parametrisation, ReportCell } from '../types.ts';
import { left } from './scores.ts';
import { draw } from './svg.ts';
import { adapterPalette, legendColumns, type Palette } from './theme.ts';

const MOST_ATTACKS = 3;
const MOST_ADAPTERS = 5;
const MOST_POINTS = 128;

/** Every eigenvalue that counts, or evenly spaced ones where there are many; the first and the last always. */
function picked(count: number): number[] {
  if (count <= MOST_POINTS) return Array.from({ length: count }, (_, i) => i);
  return Array.from({ length: MOST_POINTS }, (_, i) =>
    Math.round((i * (count - 1)) / (MOST_POINTS - 1)),
  );
}

/** At most nine powers of ten. */
function decades(values: readonly number[]): number[] {
  const low = Math.floor(Math.log10(Math.min(...values))),
    high = Math.ceil(Math.log10(Math.max(...values)));
  const step = Math.ceil((high - low + 1) / 9);
  return Array.from(
    { length: Math.floor((high - low) / step) + 1 },
    (_, i) => 10 ** (low + i * step),
  );
}

interface Curve {
  readonly adapter: string;
  readonly kernel: string;
  readonly run: string;
  readonly seed: number;
  readonly index: number;
  readonly eigenvalue: number;
}

/** Those above zero, as points of one line. */
const curve = (
  condition: Condition,
  of: Parametrisation,
  seed: number,
  eigenvalues: readonly number[],
): Curve[] =>
  picked(eigenvalues.length)
    .map((i) => ({
      adapter: condition.adapterLabel,
      kernel: of === 'full' ? 'full kernel' : 'LoRA kernel',
      run: `${condition.adapterLabel} ${of}`,
      seed,
      index: i + 1,
      eigenvalue: eigenvalues[i]!,
    }))
    .filter(({ eigenvalue }) => eigenvalue > 0);

interface PanelOptions {
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  readonly conditions: readonly Condition[];
  /** Of one cell; null where it has none. */
  readonly eigenvalues: (cell: ReportCell, of: Parametrisation) => readonly number[] | null;
}

async function panel(
  { id, title, caption, conditions, eigenvalues }: PanelOptions,
  palette: Palette,
): Promise<Figure | null> {
  const shown = conditions.slice(0, MOST_ADAPTERS);
  const values = shown.flatMap((condition) => {
    const cell = condition.cells.find((one) => eigenvalues(one, 'lora'));
    return cell
      ? (['full', 'lora'] as const).flatMap((of) =>
          curve(condition, of, cell.seed, eigenvalues(cell, of) ?? []),
        )
      : [];
  });
  if (values.length === 0) return null;
  const spec: TopLevelSpec = {
    width: 350,
    height: 220,
    data: { values },
    mark: { type: 'line', strokeWidth: 1.8, point: { size: 12, filled: true } },
    encoding: {
      x: {
        field: 'index',
        type: 'quantitative',
        title: 'eigenvalue number',
        axis: { grid: false, tickMinStep: 1 },
        scale: { zero: false, nice: false },
      },
      y: {
        field: 'eigenvalue',
        type: 'quantitative',
        title: 'λ',
        scale: { type: 'log' },
        axis: {
          values: decades(values.map(({ eigenvalue }) => eigenvalue)),
          labelExpr: "'1e' + round(log(datum.value) / LN10)",
        },
      },
      color: {
        field: 'adapter',
        type: 'nominal',
        title: null,
        scale: { domain: palette.domain as string[], range: palette.range as string[] },
        legend: {
          values: shown.map(({ adapterLabel }) => adapterLabel),
          columns: legendColumns(shown.map(({ adapterLabel }) => adapterLabel)),
          symbolType: 'stroke',
        },
      },
      strokeDash: {
        field: 'kernel',
        type: 'nominal',
        legend: null,
        scale: {
          domain: ['full kernel', 'LoRA kernel'],
          range: [
            [5, 4],
            [1, 0],
          ],
        },
      },
      detail: { field: 'run' },
    },
  };
  return {
    id,
    title,
    caption: `${caption} Seed ${values[0]!.seed}. Solid: LoRA’s kernel. Dashed: the same layers in full, at that adapter’s weights.${left(conditions.length - shown.length, 'adapter')}`,
    svg: await draw(spec, id, title),
    csv: toCsv(
      values.map(({ adapter, kernel, seed, index, eigenvalue }) => ({
        adapter,
        kernel,
        seed,
        index,
        eigenvalue,
      })),
    ),
  };
}

export async function spectrumFigures(conditions: readonly Condition[]): Promise<Figure[]> {
  const palette = adapterPalette(conditions);
  const counted =
    (checkpoint: Checkpoint) =>
    (cell: ReportCell, of: Parametrisation): readonly number[] | null => {
      const facts = cell.fisher[checkpoint]?.[of]?.true;
      return facts ? facts.spectrum.slice(0, facts.count) : null;
    };
  const tolerance = conditions
    .flatMap(({ cells }) => cells)
    .map((cell) => lastFisher(cell)?.full?.true?.tolerance)
    .find((value) => value !== undefined);
  const caption = `True Fisher. Eigenvalues at or below ${tolerance === undefined ? 'the tolerance' : `${formatNumber(tolerance)}·λmax`} count as zero and are not drawn.`;
  const figures: (Figure | null)[] = [
    await panel(
      {
        id: 'spectrum-init',
        title: `Fisher spectrum, ${checkpointName('init')}`,
        caption,
        conditions: withLora(conditions, 'init'),
        eigenvalues: counted('init'),
      },
      palette,
    ),
  ];
  const final = withLora(conditions, 'final');
  const blocks = [...new Set(final.map(blockLabel))];
  const within = (block: string | undefined): Condition[] =>
    final.filter((condition) => blockLabel(condition) === block);
  for (const [index, block] of blocks.slice(0, MOST_ATTACKS).entries()) {
    figures.push(
      await panel(
        {
          id: `spectrum-final-${index}`,
          title: `Fisher spectrum, ${checkpointName('final')}, ${block}`,
          caption,
          conditions: within(block),
          eigenvalues: counted('final'),
        },
        palette,
      ),
    );
  }
  for (const checkpoint of ['init', 'final'] as const) {
    figures.push(
      await panel(
        {
          id: `kernel-spectrum-${checkpoint}`,
          title: `Kernel spectrum, ${checkpointName(checkpoint)}${checkpoint === 'final' && blocks[0] !== undefined ? `, ${blocks[0]}` : ''}`,
          caption: 'Eigenvalues of the tangent kernel itself, those above zero.',
          conditions: checkpoint === 'init' ? withLora(conditions, 'init') : within(blocks[0]),
          eigenvalues: (cell, of) => aboveRounding(cell.kernelSpectra[checkpoint]?.[of]),
        },
        palette,
      ),
    );
  }
  return figures.filter((figure) => figure !== null);
}

/** Below it a float32 kernel's eigenvalues are rounding. */
const ROUNDING = 1e-7;
const aboveRounding = (spectrum: readonly number[] | undefined): readonly number[] | null =>
  spectrum === undefined ? null : spectrum.filter((value) => value > ROUNDING * (spectrum[0] ?? 0));
