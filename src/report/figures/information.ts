/** Information bits and Rényi entropies of the Fisher information: LoRA's A and B against the same layers in full, at the same weights. */
import type { TopLevelSpec } from 'vega-lite';
import {
  alphasOf,
  checkpointName,
  fisherOf,
  type FisherQuantity,
  INFORMATION,
  renyi,
  withLora,
} from '../compare.ts';
import { blockLabel, type Condition, distinct, seriesOf } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { alphaName } from '../metrics.ts';
import type { Checkpoint, Figure, Parametrisation } from '../types.ts';
import { left } from './scores.ts';
import { draw } from './svg.ts';
import {
  adapterPalette,
  BLOCK_HEADER,
  BLOCK_SPACING,
  FULL_COLOUR,
  INK,
  legendColumns,
} from './theme.ts';

const MOST_ROWS = 24;
const MOST_ADAPTERS = 6;

const KERNELS: readonly { readonly of: Parametrisation; readonly name: string }[] = [
  { of: 'full', name: 'full kernel' },
  { of: 'lora', name: 'LoRA kernel' },
];

async function bits(
  quantity: FisherQuantity,
  checkpoint: Checkpoint,
  conditions: readonly Condition[],
): Promise<Figure | null> {
  const having = withLora(conditions, checkpoint);
  const shown = having.slice(0, MOST_ROWS);
  const block = (condition: Condition): string =>
    checkpoint === 'init' ? condition.setting : blockLabel(condition);
  const rows = shown.flatMap((condition) =>
    KERNELS.flatMap(({ of, name }) => {
      const { values, summary } = seriesOf(condition, fisherOf(quantity, checkpoint, of));
      const common = { block: block(condition), adapter: condition.adapterLabel, kernel: name };
      return [
        ...values.map(({ seed, value }) => ({ ...common, part: 'seed', seed, value })),
        ...(summary ? [{ ...common, part: 'mean', seed: null, value: summary.mean }] : []),
      ];
    }),
  );
  if (rows.length === 0) return null;
  const x = {
    field: 'value',
    type: 'quantitative' as const,
    title: `${quantity.label} (nats)`,
    scale: { zero: false, padding: 10 },
    axis: { format: '~r', tickCount: 6 },
  };
  const y = {
    field: 'adapter',
    type: 'nominal' as const,
    title: null,
    sort: distinct(shown.map(({ adapterLabel }) => adapterLabel)),
  };
  const color = {
    field: 'kernel',
    type: 'nominal' as const,
    title: null,
    scale: { domain: ['full kernel', 'LoRA kernel'], range: [FULL_COLOUR, '#d55e00'] },
  };
  const layer = {
    width: 300,
    height: { step: 24 },
    layer: [
      {
        transform: [{ filter: "datum.part == 'mean'" }],
        mark: { type: 'line' as const, color: '#9aa5b1', strokeWidth: 1.5 },
        encoding: { x, y, detail: { field: 'adapter' } },
      },
      {
        transform: [{ filter: "datum.part == 'mean'" }],
        mark: { type: 'tick' as const, thickness: 3, size: 16 },
        encoding: { x, y, color },
      },
      {
        transform: [{ filter: "datum.part == 'seed'" }],
        mark: {
          type: 'point' as const,
          filled: true,
          size: 52,
          stroke: INK,
          strokeWidth: 0.6,
          opacity: 0.9,
        },
        encoding: {
          x,
          y,
          color,
          shape: {
            field: 'kernel',
            type: 'nominal' as const,
            title: null,
            scale: { domain: ['full kernel', 'LoRA kernel'], range: ['square', 'circle'] },
          },
        },
      },
    ],
  };
  const blocks = distinct(shown.map(block));
  const spec: TopLevelSpec =
    blocks.length === 1 && blocks[0] === ''
      ? { data: { values: rows }, ...layer }
      : {
          data: { values: rows },
          facet: {
            row: {
              field: 'block',
              type: 'nominal',
              title: null,
              sort: blocks,
              header: BLOCK_HEADER,
            },
          },
          spacing: BLOCK_SPACING,
          spec: layer,
          resolve: { scale: { y: 'independent' } },
        };
  const id = `${quantity.id.replaceAll('_', '-')}-${checkpoint}`;
  const title = `${quantity.id === 'information_bits' ? 'Information bits' : 'Information bits, normalised'}, ${checkpointName(checkpoint)}`;
  return {
    id,
    title,
    caption: `${quantity.id === 'information_bits' ? 'IB = ½ Σ log λ: moved by the scale of the kernel (s²σ²) and by how many eigenvalues count.' : '½ Σ log(λ/Σλ): free of the kernel’s scale.'} Points are seeds, bars their means.${left(having.length - shown.length, 'condition')}`,
    svg: await draw(spec, id, title),
    csv: toCsv(
      rows
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

async function entropies(
  scale: 'raw' | 'normalised',
  checkpoint: Checkpoint,
  conditions: readonly Condition[],
): Promise<Figure | null> {
  const having = withLora(conditions, checkpoint);
  const first = having[0];
  if (!first) return null;
  // One attack: the first, which is the clean run where there is one. The others are in the table.
  const sameAttack = having.filter((condition) => blockLabel(condition) === blockLabel(first));
  const shown = sameAttack.slice(0, MOST_ADAPTERS);
  const alphas = alphasOf(
    shown.flatMap(({ cells }) => cells),
    scale,
  );
  const rows = shown.flatMap((condition) =>
    alphas.flatMap((alpha) =>
      KERNELS.flatMap(({ of, name }) => {
        const { values, summary } = seriesOf(
          condition,
          fisherOf(renyi(scale, alpha), checkpoint, of),
        );
        const common = {
          adapter: condition.adapterLabel,
          kernel: name,
          run: `${condition.adapterLabel} ${name}`,
          alpha: alphaName(alpha),
        };
        return [
          ...values.map(({ seed, value }) => ({ ...common, part: 'seed', seed, value })),
          ...(summary ? [{ ...common, part: 'mean', seed: null, value: summary.mean }] : []),
        ];
      }),
    ),
  );
  if (rows.length === 0) return null;
  const palette = adapterPalette(conditions);
  const x = {
    field: 'alpha',
    type: 'ordinal' as const,
    title: 'order α',
    sort: alphas.map(alphaName),
    axis: { labelAngle: 0, grid: false },
  };
  const y = {
    field: 'value',
    type: 'quantitative' as const,
    title: `Hα, ${scale} (nats)`,
    scale: { zero: false },
  };
  const color = {
    field: 'adapter',
    type: 'nominal' as const,
    title: null,
    scale: { domain: palette.domain as string[], range: palette.range as string[] },
    legend: {
      values: shown.map(({ adapterLabel }) => adapterLabel),
      columns: legendColumns(shown.map(({ adapterLabel }) => adapterLabel)),
    },
  };
  const spec: TopLevelSpec = {
    width: 330,
    height: 210,
    data: { values: rows },
    layer: [
      {
        transform: [{ filter: "datum.part == 'mean'" }],
        mark: { type: 'line', strokeWidth: 1.8 },
        encoding: {
          x,
          y,
          color,
          detail: { field: 'run' },
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
        },
      },
      {
        transform: [{ filter: "datum.part == 'seed'" }],
        mark: {
          type: 'point',
          filled: true,
          size: 34,
          stroke: INK,
          strokeWidth: 0.5,
          opacity: 0.85,
        },
        encoding: { x, y, color },
      },
    ],
  };
  const id = `renyi-${scale}-${checkpoint}`;
  const title = `Rényi entropy, ${scale}, ${checkpointName(checkpoint)}`;
  return {
    id,
    title,
    caption: `${scale === 'raw' ? 'As the paper defines it, on unnormalised eigenvalues: no entropy unless Σλ = 1, so its order may turn at α = 1.' : 'On λ/Σλ: a real entropy.'} Solid: LoRA’s kernel. Dashed: the same layers in full, at that adapter’s weights.${checkpoint === 'final' ? ` Shown: ${blockLabel(first)}.` : ''}${left(sameAttack.length - shown.length, 'adapter')}`,
    svg: await draw(spec, id, title),
    csv: toCsv(
      rows
        .filter(({ part }) => part === 'seed')
        .map(({ adapter, kernel, alpha, seed, value }) => ({
          adapter,
          kernel,
          alpha,
          seed,
          entropy: value,
        })),
    ),
  };
}

export async function informationFigures(conditions: readonly Condition[]): Promise<Figure[]> {
  const figures: (Figure | null)[] = [];
  for (const checkpoint of ['init', 'final'] as const) {
    for (const quantity of INFORMATION) figures.push(await bits(quantity, checkpoint, conditions));
    for (const scale of ['raw', 'normalised'] as const)
      figures.push(await entropies(scale, checkpoint, conditions));
  }
  return figures.filter((figure) => figure !== null);
}
