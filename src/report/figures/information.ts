/**
 * Information bits of the Fisher information: LoRA's A and B against the same layers in full, at
 * the same weights.
 */
import type { TopLevelSpec } from 'vega-lite';
import { type Condition, seriesOf } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { checkpointName, fisherOf, type FisherQuantity, INFORMATION, withLora } from '../fisher.ts';
import { distinct } from '../groups.ts';
import { blockLabel } from '../labels.ts';
import type { Checkpoint, Figure } from '../types.ts';
import { BLOCK_SPACING, byBlock, KERNELS, onlyPart, seedPoint } from './encode.ts';
import { entropyFigure } from './entropies.ts';
import { leftOut } from './notes.ts';
import { draw } from './svg.ts';
import { FULL_COLOUR } from './theme.ts';

const MOST_ROWS = 24;

/** The title and caption of each quantity. */
const WORDS: Readonly<Record<string, { readonly title: string; readonly caption: string }>> = {
  information_bits: {
    title: 'Information bits',
    caption:
      'IB = ½ Σ log λ: depends on the kernel’s scale (s²σ²) and on how many eigenvalues count.',
  },
  information_bits_normalised: {
    title: 'Information bits, normalised',
    caption: '½ Σ log(λ/Σλ): independent of the kernel’s scale.',
  },
};

function valuesOf(
  conditions: readonly Condition[],
  quantity: FisherQuantity,
  checkpoint: Checkpoint,
) {
  return conditions.flatMap((condition) =>
    KERNELS.flatMap(({ of, name }) => {
      const { values, summary } = seriesOf(condition, fisherOf(quantity, checkpoint, of));
      const place = {
        block: checkpoint === 'init' ? condition.setting : blockLabel(condition),
        adapter: condition.adapterLabel,
        kernel: name,
      };
      return [
        ...values.map(({ seed, value }) => ({ ...place, part: 'seed', seed, value })),
        ...(summary ? [{ ...place, part: 'mean', seed: null, value: summary.mean }] : []),
      ];
    }),
  );
}

function specOf(values: ReturnType<typeof valuesOf>, label: string): TopLevelSpec {
  const x = {
    field: 'value',
    type: 'quantitative' as const,
    title: `${label} (nats)`,
    scale: { zero: false, padding: 10 },
    axis: { format: '~r', tickCount: 6 },
  };
  const y = {
    field: 'adapter',
    type: 'nominal' as const,
    title: null,
    sort: distinct(values.map(({ adapter }) => adapter)),
  };
  const byKernel = <T>(range: T[]) => ({
    field: 'kernel',
    type: 'nominal' as const,
    title: null,
    scale: { domain: KERNELS.map(({ name }) => name), range },
  });
  const color = byKernel([FULL_COLOUR, '#d55e00']);
  const layer = {
    width: 300,
    height: { step: 24 },
    layer: [
      {
        transform: onlyPart('mean'),
        mark: { type: 'line' as const, color: '#9aa5b1', strokeWidth: 1.5 },
        encoding: { x, y, detail: { field: 'adapter' } },
      },
      {
        transform: onlyPart('mean'),
        mark: { type: 'tick' as const, thickness: 3, size: 16 },
        encoding: { x, y, color },
      },
      {
        transform: onlyPart('seed'),
        mark: seedPoint(52, { strokeWidth: 0.6, opacity: 0.9 }),
        encoding: { x, y, color, shape: byKernel(['square', 'circle']) },
      },
    ],
  };
  const blocks = distinct(values.map(({ block }) => block));
  return blocks.length === 1 && blocks[0] === ''
    ? { data: { values }, ...layer }
    : {
        data: { values },
        facet: byBlock(blocks),
        spacing: BLOCK_SPACING,
        spec: layer,
        resolve: { scale: { y: 'independent' } },
      };
}

async function bitsFigure(
  quantity: FisherQuantity,
  checkpoint: Checkpoint,
  conditions: readonly Condition[],
): Promise<Figure | null> {
  const having = withLora(conditions, checkpoint);
  const shown = having.slice(0, MOST_ROWS);
  const values = valuesOf(shown, quantity, checkpoint);
  if (values.length === 0) return null;
  const words = WORDS[quantity.id];
  const id = `${quantity.id.replaceAll('_', '-')}-${checkpoint}`;
  const title = `${words?.title ?? quantity.label}, ${checkpointName(checkpoint)}`;
  const left = leftOut(having.length - shown.length, 'condition');
  return {
    id,
    title,
    caption: `${words?.caption ?? ''} Points are seeds, bars their means.${left}`,
    svg: await draw(specOf(values, quantity.label), id, title),
    csv: toCsv(
      values
        .filter(({ part }) => part === 'seed')
        .map(({ block: attack, adapter, kernel, seed, value }) => ({
          attack,
          adapter,
          kernel,
          seed,
          [quantity.id]: value,
        })),
    ),
  };
}

/** Draws bits and entropies, raw and normalised, at initialisation and after training. */
export async function informationFigures(
  conditions: readonly Condition[],
): Promise<readonly (Figure | null)[]> {
  const figures: (Figure | null)[] = [];
  for (const checkpoint of ['init', 'final'] as const) {
    for (const quantity of INFORMATION)
      figures.push(await bitsFigure(quantity, checkpoint, conditions));
    for (const scale of ['raw', 'normalised'] as const)
      figures.push(await entropyFigure(scale, checkpoint, conditions));
  }
  return figures;
}
