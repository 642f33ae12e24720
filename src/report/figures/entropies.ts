/**
 * Rényi entropies of the Fisher information over their order α, LoRA's kernel beside the full one.
 */
import type { TopLevelSpec } from 'vega-lite';
import { type Condition, seriesOf } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { alphaName } from '../entropy-names.ts';
import { alphasOf, checkpointName, fisherOf, renyi, type Scale, withLora } from '../fisher.ts';
import { blockLabel } from '../labels.ts';
import type { Checkpoint, Figure } from '../types.ts';
import { adapterColour, KERNEL_DASH, KERNELS, onlyPart, seedPoint } from './encode.ts';
import { leftOut } from './notes.ts';
import { draw } from './svg.ts';
import { adapterPalette, legendColumns, type Palette } from './theme.ts';

const MOST_ADAPTERS = 6;

const CAPTIONS: Readonly<Record<Scale, string>> = {
  raw:
    'As the paper defines it, on unnormalised eigenvalues: not an entropy unless Σλ = 1, ' +
    'so the order of LoRA and full may reverse at α = 1.',
  normalised: 'On λ/Σλ: a true entropy.',
};

function valuesOf(
  conditions: readonly Condition[],
  alphas: readonly string[],
  scale: Scale,
  checkpoint: Checkpoint,
) {
  return conditions.flatMap((condition) =>
    alphas.flatMap((alpha) =>
      KERNELS.flatMap(({ of, name }) => {
        const quantity = fisherOf(renyi(scale, alpha), checkpoint, of);
        const { values, summary } = seriesOf(condition, quantity);
        const place = {
          adapter: condition.adapterLabel,
          kernel: name,
          run: `${condition.adapterLabel} ${name}`,
          alpha: alphaName(alpha),
        };
        return [
          ...values.map(({ seed, value }) => ({ ...place, part: 'seed', seed, value })),
          ...(summary ? [{ ...place, part: 'mean', seed: null, value: summary.mean }] : []),
        ];
      }),
    ),
  );
}

function specOf(
  values: ReturnType<typeof valuesOf>,
  alphas: readonly string[],
  scale: Scale,
  adapters: string[],
  palette: Palette,
): TopLevelSpec {
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
    ...adapterColour(palette),
    title: null,
    legend: { values: adapters, columns: legendColumns(adapters) },
  };
  return {
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
}

/**
 * Draws only the first attack, which is the clean run if there is one. The others are in the table.
 * Returns null if there is nothing to draw.
 */
export async function entropyFigure(
  scale: Scale,
  checkpoint: Checkpoint,
  conditions: readonly Condition[],
): Promise<Figure | null> {
  const having = withLora(conditions, checkpoint);
  const [first] = having;
  if (!first) return null;
  const sameAttack = having.filter((condition) => blockLabel(condition) === blockLabel(first));
  const shown = sameAttack.slice(0, MOST_ADAPTERS);
  const cells = shown.flatMap((condition) => condition.cells);
  const alphas = alphasOf(cells, scale);
  const values = valuesOf(shown, alphas, scale, checkpoint);
  if (values.length === 0) return null;
  const adapters = shown.map(({ adapterLabel }) => adapterLabel);
  const id = `renyi-${scale}-${checkpoint}`;
  const title = `Rényi entropy, ${scale}, ${checkpointName(checkpoint)}`;
  const caption = [
    CAPTIONS[scale],
    ' Solid: LoRA’s kernel. Dashed: the same layers in full, at that adapter’s weights.',
    checkpoint === 'final' ? ` Shown: ${blockLabel(first)}.` : '',
    leftOut(sameAttack.length - shown.length, 'adapter'),
  ];
  const spec = specOf(values, alphas, scale, adapters, adapterPalette(conditions));
  return {
    id,
    title,
    caption: caption.join(''),
    svg: await draw(spec, id, title),
    csv: toCsv(
      values
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
