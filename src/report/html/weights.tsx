/** What training did to the weights, how far poison carries them, and Δ_r where training starts. */
import type { JSX } from 'preact';
import { type Condition, oncePerStage, seriesOf, summaryOf } from '../conditions.ts';
import { formatNumber, plural } from '../format.ts';
import {
  type DivergenceRelation,
  divergenceRelations,
  kernelBetweenRows,
  readDivergence,
} from '../theory.ts';
import {
  ADAPTER,
  adapterColumns,
  ATTACK,
  type Column,
  conditionsWith,
  metricColumns,
  names,
  namingColumns,
  type Node,
  numberColumn,
  numbers,
  type OfConditions,
  OVER_SEEDS,
  startsBlock,
  Table,
  texts,
} from './parts.tsx';

/** Shows the stage `delta`. Conditions that start from one kernel share a row. */
export function Delta({ conditions }: OfConditions): JSX.Element | null {
  const rows = oncePerStage(conditionsWith(conditions, 'delta', 'residual'), 'delta');
  if (rows.length === 0) return null;
  return (
    <>
      <h3>
        Δ<sub>r</sub> where training starts
      </h3>
      <p>
        K<sub>LoRA</sub> = K<sub>full</sub> + Δ<sub>r</sub> at B = 0, with Δ<sub>r</sub> =
        Σ(δ·δ′)(hᵀM<sub>Δ</sub>h′) summed from M<sub>Δ</sub>’s own eigenvectors; what the identity
        leaves is rounding. Where B ≠ 0, the remaining s²Σ(Bᵀδ·Bᵀδ′)(h·h′) is subtracted as well. σ̂²
        is the mean square of a layer’s A as drawn, which lies about the σ² that the spec states:
        where s²σ²n is 1, whether a layer’s s²σ̂²n is below 1 is chance. Layer by layer in{' '}
        <code>delta.json</code>.
      </p>
      <Table
        label="Delta"
        rows={rows}
        columns={[
          ...(rows.some(({ ofBase }) => ofBase !== null)
            ? namingColumns(rows)
            : adapterColumns(rows)),
          ...metricColumns('delta', [
            ['tr K_full', 'trace_full'],
            ['tr K_LoRA', 'trace_lora'],
            ['tr Δ_r', 'trace_delta'],
            ['‖Δ_r‖/‖K_full‖', 'relative_delta'],
            ['largest eigenvalue of M_Δ', 'largest_eigenvalue'],
            ['layers with M_Δ ⪯ 0', 'semidefinite_layers', 'proportion'],
            ['layers with σ² < 1/n', 'stated_premise_layers', 'proportion'],
            ['with s²σ²n < 1', 'scaled_premise_layers', 'proportion'],
            ['with s²σ̂²n < 1', 'sample_scaled_premise_layers', 'proportion'],
            ['left by the identity, ‖·‖/‖K_full‖', 'residual'],
          ]),
        ]}
      />
    </>
  );
}

export function WeightSpectrum({ conditions }: OfConditions): JSX.Element | null {
  const rows = conditionsWith(conditions, 'spectrum', 'effective_rank');
  if (rows.length === 0) return null;
  return (
    <>
      <h3>What training did to the weights</h3>
      <p>
        Singular values of each adapted layer’s ΔW. The effective rank is the smallest number of
        them that hold the chosen share of Σσ² (0.9 unless the spec says otherwise); intruder
        dimensions are large left singular vectors of the trained weight that resemble none of the
        initial weight’s (Shuttleworth et al. 2024).
      </p>
      <Table
        label="Spectra of weight changes"
        rows={rows}
        starts={startsBlock}
        caption={
          '‖ΔW‖/‖W₀‖ is that of all changed layers together. The effective and the stable rank ' +
          'are means over layers, the largest effective rank is that of one layer. Intruder ' +
          `dimensions and vectors are counted over all layers. ${OVER_SEEDS}`
        }
        columns={[
          ATTACK,
          ADAPTER,
          ...metricColumns('spectrum', [
            ['‖ΔW‖/‖W₀‖', 'relative_change'],
            ['effective rank', 'effective_rank'],
            ['its largest', 'effective_rank_largest'],
            ['stable rank', 'stable_rank'],
            ['intruder dimensions', 'intruder_dimensions'],
            ['of vectors', 'vectors'],
          ]),
        ]}
      />
      <Forgetting conditions={conditionsWith(conditions, 'spectrum', 'forgetting')} />
    </>
  );
}

/**
 * Shows the rise of the pretraining loss. `conditions` are those with this number; null if none.
 */
function Forgetting({ conditions: rows }: OfConditions): JSX.Element | null {
  if (rows.length === 0) return null;
  return (
    <>
      <p>
        Forgetting is the rise of the pretraining loss: mean −log p of masked tokens, in nats, under
        the checkpoint’s own masked-LM head over the body as it was trained. The texts are clean
        validation rows of this task, not the corpus of pretraining. 15% of a text’s tokens are to
        be predicted, of which 80% are shown masked, 10% as a token drawn at random and 10% as they
        are (Devlin et al. 2019), the same ones before and after and for every adapter of a seed.
      </p>
      <Table
        label="Forgetting"
        rows={rows}
        starts={startsBlock}
        caption={OVER_SEEDS}
        columns={[
          ATTACK,
          ADAPTER,
          ...metricColumns('spectrum', [
            ['masked-LM loss at the start', 'masked_lm_loss_start'],
            ['after training', 'masked_lm_loss'],
            ['forgetting', 'forgetting'],
            ['masked tokens', 'masked_tokens'],
          ]),
        ]}
      />
    </>
  );
}

const hasMetric = (condition: Condition, metric: string): boolean =>
  summaryOf(condition, { stage: 'divergence', metric }) !== null;

/**
 * M is not evidence if it is at most this many times the noise floor: two runs that differ only by
 * rounding are about one floor apart, and a single repetition gives only a rough floor.
 */
const FLOOR_FACTOR = 2;

/**
 * Returns the mean ratio of M to its noise floor. M is of all that is trained below the head or, if
 * nothing is, of the head. Null if no floor was measured, or if the floor is 0.
 */
const floorRatio = (condition: Condition): number | null =>
  seriesOf(
    condition,
    (cell) => readDivergence('trained.over_floor')(cell) ?? readDivergence('head.over_floor')(cell),
  ).summary?.mean ?? null;
const isFloorMeasured = (condition: Condition): boolean =>
  condition.cells.some((cell) =>
    ['trained', 'head'].some((part) => readDivergence(`floor.${part}.l2`)(cell) !== null),
  );
/** Whether M is so near to its noise floor that it is not evidence; false without a floor. */
const isWithinNoise = (condition: Condition): boolean =>
  (floorRatio(condition) ?? Infinity) <= FLOOR_FACTOR;

function floorText(condition: Condition): Node {
  const ratio = floorRatio(condition);
  if (ratio === null) return isFloorMeasured(condition) ? 'the floor is 0' : 'not measured';
  return (
    <>
      {formatNumber(ratio)}
      {isWithinNoise(condition) ? <span class="bad"> no more than rounding</span> : ''}
    </>
  );
}

const COLUMNS: readonly Column<Condition>[] = [
  ATTACK,
  ADAPTER,
  ...metricColumns('divergence', [
    ['M of the weights, largest entry', 'total.largest'],
    ['L2', 'total.l2'],
    ['relative to ‖ΔW clean‖', 'total.relative'],
    ['noise floor, L2', 'floor.total.l2'],
    ['M of all trained, L2', 'trained.l2'],
    ['relative', 'trained.relative'],
    ['noise floor, L2', 'floor.trained.l2'],
    ['head, L2', 'head.l2'],
    ['relative', 'head.relative'],
    ['noise floor, L2', 'floor.head.l2'],
  ]),
  names('M over its floor', floorText),
  numberColumn('M′', kernelBetweenRows('raw')),
  numberColumn('M′ as a cosine', kernelBetweenRows('cosine')),
];

export function Divergence({ conditions }: OfConditions): JSX.Element | null {
  const rows = conditions.filter(
    (condition) => hasMetric(condition, 'trained.l2') || hasMetric(condition, 'head.l2'),
  );
  if (rows.length === 0) return null;
  return (
    <>
      <h3>How far poisoned data carry the weights</h3>
      <p>
        M compares each poisoned run with its clean twin of the same seed, start and order, on
        effective weights, ΔW = W<sub>eff</sub>(t) − W<sub>eff</sub>(0), for LoRA and full alike, as
        a mean over the kept steps and the last. M of the weights is over the linear layers that
        LoRA adapts and full fine-tuning trains, the same ones for both: it is what the two are
        compared by. M of all that is trained adds the biases, norms and embeddings that the adapter
        trains as well, each kind by itself in the second table; an adapter that trains no layer’s
        weight (BitFit, norm-tuning) has this one alone. The head, which every adapter trains in
        full, stands apart. Where a base is poisoned, 0 is where the base’s training starts. M′ is
        the kernel at the start between poisoned rows and their originals. It is blind to attacks on
        labels alone: there both texts are the same. (In a completion task each row’s output is log
        p of its own answer, so that an attack on answers is seen.)
      </p>
      <Table
        label="Divergence"
        rows={rows}
        starts={startsBlock}
        caption={OVER_SEEDS}
        columns={COLUMNS}
      />
      <FloorNote conditions={rows} />
      <Kinds conditions={rows} />
      <WithKernel conditions={rows} />
    </>
  );
}

function FloorNote({ conditions }: OfConditions): JSX.Element {
  const withinNoise = conditions.filter(isWithinNoise).length,
    unmeasured = conditions.filter((condition) => !isFloorMeasured(condition)).length;
  return (
    <p class="muted small">
      Noise floor: the clean run trained again, alone, with each batch’s rows read in reverse order,
      and its distance from the clean run. The two differ only in the order of floating-point sums,
      so an M near the floor is not an effect of poison. The ratio is that of L2 norms over all that
      is trained below the head (over the head, where that is all).{' '}
      {withinNoise === 0
        ? ''
        : `M is within ${FLOOR_FACTOR} times its floor, and so not evidence, in ` +
          `${plural(withinNoise, 'condition')}. `}
      {unmeasured === 0
        ? ''
        : `No floor was measured for ${plural(unmeasured, 'condition')}: ` +
          'their divergence.json says why.'}
    </p>
  );
}

const KINDS = ['biases', 'norms', 'embeddings', 'other'] as const;

/** Shows M of the trained parameters that are not weights of layers, by kind. */
function Kinds({ conditions }: OfConditions): JSX.Element | null {
  const present = KINDS.filter((kind) => conditions.some((row) => hasMetric(row, `${kind}.l2`)));
  const rows = conditions.filter((row) => present.some((kind) => hasMetric(row, `${kind}.l2`)));
  if (rows.length === 0) return null;
  return (
    <Table
      label="Divergence by kind"
      rows={rows}
      starts={startsBlock}
      caption={`M of the trained parameters that are not weights of layers, by kind. ${OVER_SEEDS}`}
      columns={[
        ATTACK,
        ADAPTER,
        ...present.flatMap((kind) =>
          metricColumns('divergence', [
            [`${kind}, L2`, `${kind}.l2`],
            ['relative', `${kind}.relative`],
            ['noise floor, L2', `floor.${kind}.l2`],
          ]),
        ),
      ]}
    />
  );
}

/** Shows how M correlates with M′ under each attack. */
function WithKernel({ conditions }: OfConditions): JSX.Element | null {
  const relations = divergenceRelations(conditions);
  return relations.length === 0 ? null : (
    <Table<DivergenceRelation>
      label="Divergence and kernel"
      rows={relations}
      caption="Spearman’s ρ over the cells (adapters and seeds) of one attack."
      columns={[
        names('Attack', ({ block }) => block),
        numbers('Cells', ({ cells }) => cells),
        numbers('M (L2) with M′', ({ absolute }) => formatNumber(absolute, 'proportion')),
        numbers('M (relative) with M′ (cosine)', ({ relative }) =>
          formatNumber(relative, 'proportion'),
        ),
        texts('', ({ blind }) =>
          blind ? 'M′ can’t see this attack: its poisoned texts are the originals’' : '',
        ),
      ]}
    />
  );
}
