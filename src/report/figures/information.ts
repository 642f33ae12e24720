/**
 * Information bits and Rényi entropies of the Fisher information: LoRA's A and B against the same
 * layers in full, at the same weights.
 */
import type { TopLevelSpec } from 'vega-lite';
import { type Condition, seriesOf } from '../conditions.ts';
import { csvOf } from '../csv.ts';
import {
  alphaName,
  alphasOf,
  checkpointName,
  fisherOf,
  type FisherQuantity,
  INFORMATION,
  renyi,
  type Scale,
  SCALES,
  withLora,
} from '../fisher.ts';
import { distinct } from '../groups.ts';
import { blockLabel } from '../labels.ts';
import type { Checkpoint, Figure } from '../types.ts';
import {
  adapterColour,
  drawFigure,
  firstOf,
  inBlocks,
  KERNEL_DASH,
  KERNELS,
  leftOut,
  MEAN,
  nominal,
  onlyPart,
  ordinal,
  quantitative,
  ROWS,
  seedPoint,
  seedsAndMean,
} from './encode.ts';
import { adapterPalette, FULL_COLOUR, legendColumns } from './theme.ts';

const MOST_ROWS = 24;
const MOST_ADAPTERS = 6;

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
const ENTROPY_CAPTIONS: Readonly<Record<Scale, string>> = {
  raw:
    'As the paper defines it, on unnormalised eigenvalues: not an entropy unless Σλ = 1, ' +
    'so the order of LoRA and full may reverse at α = 1.',
  normalised: 'On λ/Σλ: a true entropy.',
};

const ofKernels = <Place extends object>(
  condition: Condition,
  quantity: FisherQuantity,
  checkpoint: Checkpoint,
  place: Place,
) =>
  KERNELS.flatMap(({ of, name: kernel }) => {
    const adapter = condition.adapterLabel;
    return seedsAndMean(
      { ...place, adapter, kernel, run: `${adapter} ${kernel}` },
      seriesOf(condition, fisherOf(quantity, checkpoint, of)),
    );
  });
const isSeed = ({ part }: { readonly part: string }): boolean => part === 'seed';

interface BitsValue {
  readonly attack: string;
  readonly block: string;
  readonly adapter: string;
}

function bitsSpec(values: readonly BitsValue[], label: string): TopLevelSpec {
  const x = quantitative('value', `${label} (nats)`, {
    scale: { zero: false, padding: 10 },
    axis: { format: '~r', tickCount: 6 },
  });
  const y = nominal('adapter', { sort: distinct(values.map(({ adapter }) => adapter)) });
  const byKernel = <T>(range: T[]) =>
    nominal('kernel', { scale: { domain: KERNELS.map(({ name }) => name), range } });
  const color = byKernel([FULL_COLOUR, '#d55e00']);
  const layer = [
    {
      transform: onlyPart('mean'),
      mark: { type: 'line' as const, color: '#9aa5b1', strokeWidth: 1.5 },
      encoding: { x, y, detail: { field: 'adapter' } },
    },
    { transform: onlyPart('mean'), mark: MEAN, encoding: { x, y, color } },
    {
      transform: onlyPart('seed'),
      mark: seedPoint(52, { strokeWidth: 0.6, opacity: 0.9 }),
      encoding: { x, y, color, shape: byKernel(['square', 'circle']) },
    },
  ];
  const blocks = distinct(values.map(({ block }) => block));
  return blocks.length === 1 && blocks[0] === ''
    ? { data: { values: [...values] }, ...ROWS, layer }
    : inBlocks(blocks, [...values], layer);
}

async function bitsFigure(
  quantity: FisherQuantity,
  checkpoint: Checkpoint,
  conditions: readonly Condition[],
): Promise<Figure | null> {
  const { shown, left } = firstOf(withLora(conditions, checkpoint), MOST_ROWS);
  const values = shown.flatMap((condition) => {
    const block = checkpoint === 'init' ? condition.setting : blockLabel(condition);
    return ofKernels(condition, quantity, checkpoint, { attack: block, block });
  });
  if (values.length === 0) return null;
  const { title, caption } = WORDS[quantity.id] ?? { title: quantity.label, caption: '' };
  return drawFigure(
    {
      id: `${quantity.id.replaceAll('_', '-')}-${checkpoint}`,
      title: `${title}, ${checkpointName(checkpoint)}`,
    },
    [`${caption} Points are seeds, bars their means.`, leftOut(left, 'condition')],
    bitsSpec(values, quantity.label),
    csvOf(values.filter(isSeed), ['attack', 'adapter', 'kernel', 'seed', [quantity.id, 'value']]),
  );
}

/**
 * Draws only the first attack, which is the clean run if there is one. The others are in the table.
 * Returns null if there is nothing to draw.
 */
async function entropyFigure(
  scale: Scale,
  checkpoint: Checkpoint,
  conditions: readonly Condition[],
): Promise<Figure | null> {
  const having = withLora(conditions, checkpoint);
  const [first] = having;
  if (!first) return null;
  const { shown, left } = firstOf(
    having.filter((condition) => blockLabel(condition) === blockLabel(first)),
    MOST_ADAPTERS,
  );
  const alphas = alphasOf(
    shown.flatMap(({ cells }) => cells),
    scale,
  );
  const values = shown.flatMap((condition) =>
    alphas.flatMap((alpha) =>
      ofKernels(condition, renyi(scale, alpha), checkpoint, { alpha: alphaName(alpha) }),
    ),
  );
  if (values.length === 0) return null;
  const adapters = shown.map(({ adapterLabel }) => adapterLabel);
  const x = ordinal('alpha', 'order α', {
    sort: alphas.map(alphaName),
    axis: { labelAngle: 0, grid: false },
  });
  const y = quantitative('value', `Hα, ${scale} (nats)`, { scale: { zero: false } });
  const color = {
    ...adapterColour(adapterPalette(conditions)),
    title: null,
    legend: { values: adapters, columns: legendColumns(adapters) },
  };
  const spec: TopLevelSpec = {
    width: 330,
    height: 210,
    data: { values },
    layer: [
      {
        transform: onlyPart('mean'),
        mark: { type: 'line', strokeWidth: 1.8 },
        encoding: { x, y, color, detail: { field: 'run' }, strokeDash: KERNEL_DASH },
      },
      {
        transform: onlyPart('seed'),
        mark: seedPoint(34, { strokeWidth: 0.5, opacity: 0.85 }),
        encoding: { x, y, color },
      },
    ],
  };
  const caption = [
    ENTROPY_CAPTIONS[scale],
    ' Solid: LoRA’s kernel. Dashed: the same layers in full, at that adapter’s weights.',
    checkpoint === 'final' ? ` Shown: ${blockLabel(first)}.` : '',
    leftOut(left, 'adapter'),
  ];
  return drawFigure(
    {
      id: `renyi-${scale}-${checkpoint}`,
      title: `Rényi entropy, ${scale}, ${checkpointName(checkpoint)}`,
    },
    caption,
    spec,
    csvOf(values.filter(isSeed), ['adapter', 'kernel', 'alpha', 'seed', ['entropy', 'value']]),
  );
}

/** Draws bits and entropies, raw and normalised, at initialisation and after training. */
export async function informationFigures(
  conditions: readonly Condition[],
): Promise<readonly (Figure | null)[]> {
  const figures: (Figure | null)[] = [];
  for (const checkpoint of ['init', 'final'] as const) {
    for (const quantity of INFORMATION)
      figures.push(await bitsFigure(quantity, checkpoint, conditions));
    for (const scale of SCALES) figures.push(await entropyFigure(scale, checkpoint, conditions));
  }
  return figures;
}
