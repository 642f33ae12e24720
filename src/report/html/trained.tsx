/** What training did to weights and kernels: divergence, spectra of ΔW, Δ_r, and whether the linear regime holds. */
import type { JSX } from 'preact';
import { ESTIMATED, isEstimated } from '../compare.ts';
import {
  blockLabel,
  type Condition,
  distinct,
  isFull,
  metricOf,
  type Quantity,
  seriesOf,
} from '../conditions.ts';
import { formatNumber, formatSummary, type NumberKind, plural } from '../format.ts';
import { between, divergenceRelations } from '../relations.ts';
import { type Column, Table } from './parts.tsx';

const having = (conditions: readonly Condition[], stage: string, metric: string): Condition[] =>
  conditions.filter((condition) => seriesOf(condition, metricOf(stage, metric)).summary !== null);

const number = (
  title: string,
  quantity: Quantity,
  kind: NumberKind = 'plain',
): Column<Condition> => ({
  title,
  kind: 'number',
  value: (condition) => {
    const { summary } = seriesOf(condition, quantity);
    return summary === null ? '–' : formatSummary(summary, kind);
  },
});
const names: readonly Column<Condition>[] = [
  { title: 'Attack', kind: 'nowrap', value: blockLabel },
  { title: 'Adapter', kind: 'nowrap', value: ({ adapterLabel }) => adapterLabel },
];
const CAPTION = 'Mean ± half of the 95% t-interval over seeds.';
const newBlock =
  (rows: readonly Condition[]) =>
  (row: Condition, i: number): boolean =>
    blockLabel(row) !== blockLabel(rows[i - 1]!);
/** At the start the attack plays no part: each adapter once. */
const onceAnAdapter = (conditions: readonly Condition[]): Condition[] => {
  const seen = new Set<string>();
  return conditions.filter(({ adapterLabel, setting }) => {
    const name = `${adapterLabel} ${setting}`;
    return !seen.has(name) && seen.add(name);
  });
};

/** Two runs that differ by rounding alone lie about one floor apart, and a single repetition estimates the floor only to within a factor: up to twice the floor M is no evidence. */
const FLOOR_FACTOR = 2;

/** The mean of M over the noise floor, of what is trained below the head or else of the head; null where it was not measured. */
function floorRatio(condition: Condition): number | null {
  const ratio = (cell: Condition['cells'][number]): number | null => {
    const facts = cell.metrics['divergence'];
    return facts?.['trained.over_floor'] ?? facts?.['head.over_floor'] ?? null;
  };
  return seriesOf(condition, ratio).summary?.mean ?? null;
}
const isMeasured = (condition: Condition): boolean =>
  condition.cells.some(({ metrics }) =>
    ['trained', 'head'].some((part) => metrics['divergence']?.[`floor.${part}.l2`] !== undefined),
  );
const isDrowned = (condition: Condition): boolean =>
  (floorRatio(condition) ?? Infinity) <= FLOOR_FACTOR;

export function Divergence({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  const rows = conditions.filter((condition) =>
    ['trained.l2', 'head.l2'].some(
      (metric) => seriesOf(condition, metricOf('divergence', metric)).summary !== null,
    ),
  );
  if (rows.length === 0) return null;
  const of = (metric: string): Quantity => metricOf('divergence', metric);
  const relations = divergenceRelations(rows);
  const drowned = rows.filter(isDrowned),
    unmeasured = rows.filter((row) => !isMeasured(row));
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
        labels alone: there both texts are the same.
      </p>
      <Table
        label="Divergence"
        rows={rows}
        starts={newBlock(rows)}
        caption={CAPTION}
        columns={[
          ...names,
          number('M of the weights, largest entry', of('total.largest')),
          number('L2', of('total.l2')),
          number('relative to ‖ΔW clean‖', of('total.relative')),
          number('noise floor, L2', of('floor.total.l2')),
          number('M of all trained, L2', of('trained.l2')),
          number('relative', of('trained.relative')),
          number('noise floor, L2', of('floor.trained.l2')),
          number('head, L2', of('head.l2')),
          number('relative', of('head.relative')),
          number('noise floor, L2', of('floor.head.l2')),
          {
            title: 'M over its floor',
            kind: 'nowrap',
            value: (row) => {
              const ratio = floorRatio(row);
              return ratio === null ? (
                isMeasured(row) ? (
                  'the floor is 0'
                ) : (
                  'not measured'
                )
              ) : (
                <>
                  {formatNumber(ratio)}
                  {isDrowned(row) ? <span class="bad"> no more than rounding</span> : ''}
                </>
              );
            },
          },
          number('M′', between('raw')),
          number('M′ as a cosine', between('cosine')),
        ]}
      />
      <p class="muted small">
        Noise floor: the clean run trained again, alone, each batch’s rows read in reverse order,
        and its distance from the clean run. The two differ in the order of floating-point sums and
        in nothing else, so an M near it is no effect of poison. The ratio is that of L2 norms over
        all that is trained below the head (of the head, where that is all).{' '}
        {drowned.length === 0
          ? ''
          : `M is within ${FLOOR_FACTOR} times its floor, and so no evidence, in ${plural(drowned.length, 'condition')}. `}
        {unmeasured.length === 0
          ? ''
          : `No floor was measured for ${plural(unmeasured.length, 'condition')}: why stands in their divergence.json.`}
      </p>
      <Kinds conditions={rows} />
      {relations.length === 0 ? null : (
        <Table
          label="Divergence and kernel"
          rows={relations}
          caption="Spearman’s ρ over cells (adapters and seeds) of one attack."
          columns={[
            { title: 'Attack', kind: 'nowrap', value: ({ block }) => block },
            { title: 'Cells', kind: 'number', value: ({ cells }) => cells },
            {
              title: 'M (L2) with M′',
              kind: 'number',
              value: ({ absolute }) => formatNumber(absolute, 'proportion'),
            },
            {
              title: 'M (relative) with M′ (cosine)',
              kind: 'number',
              value: ({ relative }) => formatNumber(relative, 'proportion'),
            },
            {
              title: '',
              value: ({ blind }) =>
                blind ? 'M′ can’t see this attack: its poisoned texts are the originals’' : '',
            },
          ]}
        />
      )}
    </>
  );
}

const KINDS = ['biases', 'norms', 'embeddings', 'other'] as const;

/** What M of all that is trained is made of beside the weights. */
function Kinds({ conditions }: { readonly conditions: readonly Condition[] }): JSX.Element | null {
  const metric = (kind: string, name: string): Quantity =>
    metricOf('divergence', `${kind}.${name}`);
  const present = KINDS.filter((kind) =>
    conditions.some((row) => seriesOf(row, metric(kind, 'l2')).summary !== null),
  );
  const rows = conditions.filter((row) =>
    present.some((kind) => seriesOf(row, metric(kind, 'l2')).summary !== null),
  );
  if (rows.length === 0) return null;
  return (
    <Table
      label="Divergence by kind"
      rows={rows}
      starts={newBlock(rows)}
      caption={`M of the trained parameters that are no layer’s weight, by kind. ${CAPTION}`}
      columns={[
        ...names,
        ...present.flatMap((kind) => [
          number(`${kind}, L2`, metric(kind, 'l2')),
          number('relative', metric(kind, 'relative')),
          number('noise floor, L2', metricOf('divergence', `floor.${kind}.l2`)),
        ]),
      ]}
    />
  );
}

export function Spectrum({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  const rows = having(conditions, 'spectrum', 'effective_rank');
  if (rows.length === 0) return null;
  const of = (metric: string): Quantity => metricOf('spectrum', metric);
  return (
    <>
      <h3>What training did to the weights</h3>
      <p>
        Singular values of each adapted layer’s ΔW. The effective rank is the least number of them
        that hold the asked share of Σσ² (0.9 unless the spec says otherwise); intruder dimensions
        are large left singular vectors of the trained weight that none of the initial weight’s
        resembles (Shuttleworth et al. 2024).
      </p>
      <Table
        label="Spectra of weight changes"
        rows={rows}
        starts={newBlock(rows)}
        caption="Means over layers, mean ± half of the 95% t-interval over seeds."
        columns={[
          ...names,
          number('‖ΔW‖/‖W₀‖', of('relative_change')),
          number('effective rank', of('effective_rank')),
          number('its largest', of('effective_rank_largest')),
          number('stable rank', of('stable_rank')),
          number('intruder dimensions', of('intruder_dimensions')),
          number('of vectors', of('vectors')),
        ]}
      />
      <Forgetting conditions={having(conditions, 'spectrum', 'forgetting')} />
    </>
  );
}

/** Where the checkpoint has a masked-LM head. */
function Forgetting({
  conditions: rows,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  if (rows.length === 0) return null;
  const of = (metric: string): Quantity => metricOf('spectrum', metric);
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
        starts={newBlock(rows)}
        caption={CAPTION}
        columns={[
          ...names,
          number('masked-LM loss at the start', of('masked_lm_loss_start')),
          number('after training', of('masked_lm_loss')),
          number('forgetting', of('forgetting')),
          number('masked tokens', of('masked_tokens')),
        ]}
      />
    </>
  );
}

export function Delta({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  const rows = onceAnAdapter(having(conditions, 'delta', 'residual'));
  if (rows.length === 0) return null;
  const of = (metric: string): Quantity => metricOf('delta', metric);
  return (
    <>
      <h3>
        Δ<sub>r</sub> where training starts
      </h3>
      <p>
        K<sub>LoRA</sub> = K<sub>full</sub> + Δ<sub>r</sub> at B = 0, with Δ<sub>r</sub> =
        Σ(δ·δ′)(hᵀM<sub>Δ</sub>h′) summed from M<sub>Δ</sub>’s own eigenvectors; what the identity
        leaves is rounding. Where B ≠ 0, s²Σ(Bᵀδ·Bᵀδ′)(h·h′) is the rest and is taken off as well.
        σ̂² is the mean square of a layer’s A as drawn, which lies about the σ² that the spec states:
        where s²σ²n is 1, whether a layer’s s²σ̂²n is below 1 is chance. Layer by layer in{' '}
        <code>delta.json</code>.
      </p>
      <Table
        label="Delta"
        rows={rows}
        columns={[
          names[1]!,
          number('tr K_full', of('trace_full')),
          number('tr K_LoRA', of('trace_lora')),
          number('tr Δ_r', of('trace_delta')),
          number('‖Δ_r‖/‖K_full‖', of('relative_delta')),
          number('largest eigenvalue of M_Δ', of('largest_eigenvalue')),
          number('layers with M_Δ ⪯ 0', of('semidefinite_layers'), 'proportion'),
          number('layers with σ² < 1/n', of('stated_premise_layers'), 'proportion'),
          number('with s²σ²n < 1', of('scaled_premise_layers'), 'proportion'),
          number('with s²σ̂²n < 1', of('sample_scaled_premise_layers'), 'proportion'),
          number('left by the identity, ‖·‖/‖K_full‖', of('residual')),
        ]}
      />
    </>
  );
}

interface RegimeLine {
  readonly condition: Condition;
  /** Null at the end. */
  readonly step: number | null;
}

/** Kept steps that any of its cells was looked at, ascending. */
const stepsOf = ({ cells }: Condition): number[] =>
  distinct(
    cells.flatMap(({ metrics }) =>
      Object.keys(metrics['regime'] ?? {}).flatMap((name) => {
        const step = /^step-(\d+)\.linear\.agreement$/.exec(name)?.[1];
        return step === undefined ? [] : [Number(step)];
      }),
    ),
  ).sort((a, b) => a - b);

/** What the table comes to, in a sentence: the ends of what was seen. */
function regimeSummary(
  lines: readonly RegimeLine[],
  error: (line: RegimeLine) => Quantity,
  drift: (line: RegimeLine) => Quantity,
): string {
  const ends = (quantity: (line: RegimeLine) => Quantity): string | null => {
    const means = lines
      .filter(({ step }) => step === null)
      .flatMap((line) => seriesOf(line.condition, quantity(line)).summary?.mean ?? []);
    return means.length === 0
      ? null
      : `${formatNumber(Math.min(...means))} to ${formatNumber(Math.max(...means))}`;
  };
  const [errors, drifts] = [ends(error), ends(drift)];
  if (errors === null) return '';
  return `At the end of training its mean error is ${errors} over these conditions${drifts === null ? '' : `, and the kernel has moved by ${drifts} of its norm`}: where an error is near 1, what a kernel at the start predicts is no account of the trained model.`;
}

export function Regime({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  const rows = having(conditions, 'regime', 'linear.agreement');
  if (rows.length === 0) return null;
  // One row a kept step that was looked at, and one for the end, which has no prefix.
  const lines = rows.flatMap((condition) =>
    [...stepsOf(condition), null].map((step): RegimeLine => ({ condition, step })),
  );
  const stepped = lines.some(({ step }) => step !== null);
  const of =
    (metric: string) =>
    ({ step }: RegimeLine): Quantity =>
      metricOf('regime', step === null ? metric : `step-${step}.${metric}`);
  const own =
    (name: string) =>
    (line: RegimeLine): Quantity =>
    (cell) =>
      of(`lora.${name}`)(line)(cell) ?? (isFull(cell) ? of(`full.${name}`)(line)(cell) : null);
  const column = (
    title: string,
    quantity: (line: RegimeLine) => Quantity,
    kind: NumberKind = 'plain',
    ofKernels = false,
  ): Column<RegimeLine> => ({
    title,
    kind: 'number',
    value: (line) => {
      const { summary } = seriesOf(line.condition, quantity(line));
      if (summary === null) return '–';
      const about = ofKernels && isEstimated(line.condition.cells, 'regime') ? '≈ ' : '';
      return `${about}${formatSummary(summary, kind)}`;
    },
  });
  return (
    <>
      <h3>Does the tangent kernel’s regime hold?</h3>
      <p>
        It holds where the kernel over what is trained stays put and f₀ + J₀(Θ<sub>T</sub> − Θ₀), J₀
        that of every trained parameter, predicts the trained model: an error of 0 is a linear
        model, 1 is no better than that nothing moved. The kernel describes SGD; AdamW follows a
        sign-like kernel (Malladi et al. 2023), so its rows speak of the prediction alone.{' '}
        {regimeSummary(lines, of('linear.relative_error'), own('drift'))}
      </p>
      <Table
        label="Regime"
        most={240}
        rows={lines}
        starts={(line, i) => blockLabel(line.condition) !== blockLabel(lines[i - 1]!.condition)}
        caption={`${CAPTION}${rows.some(({ cells }) => isEstimated(cells, 'regime')) ? ` ${ESTIMATED}` : ''}`}
        columns={[
          { title: 'Attack', kind: 'nowrap', value: ({ condition }) => blockLabel(condition) },
          { title: 'Adapter', kind: 'nowrap', value: ({ condition }) => condition.adapterLabel },
          ...(stepped
            ? [
                {
                  title: 'At',
                  kind: 'nowrap' as const,
                  value: ({ step }: RegimeLine) => (step === null ? 'the end' : `step ${step}`),
                },
              ]
            : []),
          {
            title: 'Optimiser',
            kind: 'nowrap',
            value: ({ condition }) => String(condition.cells[0]!.train['optimizer'] ?? 'unknown'),
          },
          column('‖K(T)−K(0)‖/‖K(0)‖', own('drift'), 'plain', true),
          column('1 − cos(K(T), K(0))', own('rotation'), 'plain', true),
          column('error of the linear prediction', of('linear.relative_error')),
          column('its cosine', of('linear.cosine')),
          column('same class as f_T', of('linear.agreement'), 'proportion'),
          column('f₀: same class', of('linear.agreement_start'), 'proportion'),
        ]}
      />
    </>
  );
}
