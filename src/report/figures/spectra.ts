/** Eigenvalues of the true Fisher information, on a logarithmic axis. */
import type { TopLevelSpec } from 'vega-lite';
import { toCsv } from '../csv.ts';
import { blockLabel, type Condition } from '../conditions.ts';
import type { Checkpoint, Figure, ReportCell } from '../types.ts';
import { checkpointName, withLora } from '../compare.ts';
import { left } from './scores.ts';
import { draw } from './svg.ts';
import { adapterPalette } from './theme.ts';

const MOST_ATTACKS = 3;
const MOST_ADAPTERS = 5;
const MOST_POINTS = 128;

/** Every eigenvalue that counts, or evenly spaced ones where there are many; the first and the last always. */
function picked(count: number): number[] {
  if (count <= MOST_POINTS) return Array.from({ length: count }, (_, i) => i);
  return Array.from({ length: MOST_POINTS }, (_, i) => Math.round(i * (count - 1) / (MOST_POINTS - 1)));
}

async function panel(id: string, title: string, checkpoint: Checkpoint, conditions: readonly Condition[], all: readonly Condition[]): Promise<Figure | null> {
  const shown = conditions.slice(0, MOST_ADAPTERS);
  const first = (condition: Condition): ReportCell | undefined => condition.cells.find(({ fisher }) => fisher[checkpoint]?.lora?.true);
  const values = shown.flatMap((condition) => {
    const cell = first(condition);
    return (['full', 'lora'] as const).flatMap((of) => {
      const facts = cell?.fisher[checkpoint]?.[of]?.true;
      const counted = facts?.spectrum.slice(0, facts.count) ?? [];
      return picked(counted.length).map((i) => ({
        adapter: condition.adapterLabel, kernel: of === 'full' ? 'full kernel' : 'LoRA kernel', run: `${condition.adapterLabel} ${of}`, seed: cell!.seed, index: i + 1, eigenvalue: counted[i]!,
      }));
    }).filter(({ eigenvalue }) => eigenvalue > 0);
  });
  if (values.length === 0) return null;
  const palette = adapterPalette(all);
  const tolerance = shown.map(first).find((cell) => cell)?.fisher[checkpoint]?.lora?.true?.tolerance;
  const spec: TopLevelSpec = {
    width: 350, height: 220, data: { values },
    mark: { type: 'line', strokeWidth: 1.8, point: { size: 12, filled: true } },
    encoding: {
      x: { field: 'index', type: 'quantitative', title: 'eigenvalue number', axis: { grid: false, tickMinStep: 1 }, scale: { zero: false, nice: false } },
      y: { field: 'eigenvalue', type: 'quantitative', title: 'λ', scale: { type: 'log' }, axis: { format: '~e', tickCount: 6 } },
      color: { field: 'adapter', type: 'nominal', title: null, scale: { domain: palette.domain as string[], range: palette.range as string[] }, legend: { values: shown.map(({ adapterLabel }) => adapterLabel), symbolType: 'stroke' } },
      strokeDash: { field: 'kernel', type: 'nominal', title: null, scale: { domain: ['full kernel', 'LoRA kernel'], range: [[5, 4], [1, 0]] } },
      detail: { field: 'run' },
    },
  };
  return {
    id, title,
    caption: `True Fisher, seed ${values[0]!.seed}. Eigenvalues at or below ${tolerance === undefined ? 'the tolerance' : `${tolerance}·λmax`} count as zero and are not drawn. Dashed: the same layers in full, at that adapter’s weights.${left(conditions.length - shown.length, 'adapter')}`,
    svg: await draw(spec, id, title),
    csv: toCsv(values.map(({ adapter, kernel, seed, index, eigenvalue }) => ({ adapter, kernel, seed, index, eigenvalue }))),
  };
}

export async function spectrumFigures(conditions: readonly Condition[]): Promise<Figure[]> {
  const figures = [await panel('spectrum-init', `Fisher spectrum, ${checkpointName('init')}`, 'init', withLora(conditions, 'init'), conditions)];
  const final = withLora(conditions, 'final');
  const blocks = [...new Set(final.map(blockLabel))];
  for (const [index, block] of blocks.slice(0, MOST_ATTACKS).entries()) {
    figures.push(await panel(`spectrum-final-${index}`, `Fisher spectrum, ${checkpointName('final')}, ${block}`, 'final', final.filter((condition) => blockLabel(condition) === block), conditions));
  }
  return figures.filter((figure) => figure !== null);
}
