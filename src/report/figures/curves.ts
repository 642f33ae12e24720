/**
 * Curves along something that is no axis of the grid: Rényi entropies of the Fisher information by
 * their order, for LoRA's A and B and the same layers in full at the same weights; and the ROC of
 * defences that give scores.
 */
import type { TopLevelSpec } from 'vega-lite';
import { type Condition, seriesOf } from '../conditions.ts';
import { csvOf } from '../csv.ts';
import { defenceLabelOf } from '../defences.ts';
import {
  alphaName,
  alphasOf,
  checkpointName,
  fisherOf,
  type FisherQuantity,
  renyi,
  type Scale,
  SCALES,
  withLora,
} from '../fisher.ts';
import { blockLabel } from '../labels.ts';
import type { Checkpoint, Figure } from '../types.ts';
import {
  adapterColour,
  drawFigure,
  firstOf,
  KERNEL_DASH,
  KERNELS,
  leftOut,
  nominal,
  onlyPart,
  ordinal,
  quantitative,
  seedPoint,
  seedsAndMean,
} from './encode.ts';
import { adapterPalette, legendColumns } from './theme.ts';

const MOST_ADAPTERS = 6;

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

/** Draws entropies, raw and normalised, at initialisation and after training. */
export async function entropyFigures(
  conditions: readonly Condition[],
): Promise<readonly (Figure | null)[]> {
  const figures: (Figure | null)[] = [];
  for (const checkpoint of ['init', 'final'] as const)
    for (const scale of SCALES) figures.push(await entropyFigure(scale, checkpoint, conditions));
  return figures;
}

type RocPoint = {
  readonly attack: string;
  readonly adapter: string;
  readonly seed: number;
  readonly judge: string;
  readonly run: string;
  readonly falsePositiveRate: number;
  readonly truePositiveRate: number;
};

const curvesOf = (conditions: readonly Condition[]): readonly RocPoint[] =>
  conditions.flatMap((condition) =>
    condition.cells.flatMap(({ seed, roc = {} }) =>
      Object.entries(roc).flatMap(([of, points]) => {
        const judge = `${defenceLabelOf(condition)} (${of === 'filter' ? 'training rows' : of})`;
        return points.map(([falsePositiveRate, truePositiveRate]) => ({
          attack: condition.attackLabel,
          adapter: condition.adapterLabel,
          seed,
          judge,
          run: `${judge} ${condition.adapterLabel} ${seed}`,
          falsePositiveRate,
          truePositiveRate,
        }));
      }),
    ),
  );

const rocSpec = (points: readonly RocPoint[]): TopLevelSpec => ({
  data: { values: [...points] },
  facet: { column: { field: 'attack', type: 'nominal', title: null } },
  spec: {
    width: 230,
    height: 230,
    mark: { type: 'line', interpolate: 'step-after', strokeWidth: 1.6, opacity: 0.8 },
    encoding: {
      x: quantitative('falsePositiveRate', 'clean rows suspected', { scale: { domain: [0, 1] } }),
      y: quantitative('truePositiveRate', 'poisoned rows suspected', {
        scale: { domain: [0, 1] },
      }),
      color: nominal('judge', {
        legend: { orient: 'bottom' as const, columns: 2, labelLimit: 0 },
      }),
      detail: { field: 'run' },
      order: { field: 'falsePositiveRate' },
    },
  },
});

export async function rocFigure(conditions: readonly Condition[]): Promise<Figure | null> {
  const points = curvesOf(conditions);
  if (points.length === 0) return null;
  const title = 'Detection, from the threshold that suspects nothing to that which suspects all';
  return drawFigure(
    { id: 'defences-roc', title },
    ['One line for each adapter and seed. A line along the diagonal is guessing.'],
    rocSpec(points),
    csvOf(points, [
      'attack',
      ['defence', 'judge'],
      'adapter',
      'seed',
      ['false_positive_rate', 'falsePositiveRate'],
      ['true_positive_rate', 'truePositiveRate'],
    ]),
  );
}
