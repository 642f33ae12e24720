/**
 * Tables of LoRA's kernel beside the full one: every quantity, how many eigenvalues count, how far
 * training moved the kernels, what the paper predicts, and how quantities correlate with attacks.
 */
import type { JSX } from 'preact';
import type { KernelComparison } from '../comparisons.ts';
import { type Condition, metricOf, type Quantity, seriesOf, startLabel } from '../conditions.ts';
import { checkpointName, ESTIMATED, fisherOf, isEstimated, lastFisher } from '../fisher.ts';
import { formatInterval, formatMean, formatNumber, plural } from '../format.ts';
import { distinct, groupBy } from '../groups.ts';
import { blockLabel } from '../labels.ts';
import { ADAPTERS_NEEDED, type Relation, relationsOf } from '../theory.ts';
import type { Parametrisation } from '../types.ts';
import { CORRELATION_MARGIN, RELATIVE_MARGIN, SEEDS_NEEDED, type Verdict } from '../verdict.ts';
import {
  ADAPTER,
  ATTACK,
  claims,
  type Column,
  Judged,
  names,
  numbers,
  type OfConditions,
  type PageProps,
  startsBlock,
  Table,
  texts,
} from './parts.tsx';

/**
 * Returns a column of the mean of a quantity of one of the two kernels, over all seeds that have
 * it.
 */
const kernelMean = (title: string, of: Parametrisation): Column<KernelComparison> =>
  numbers(title, ({ condition, quantity, checkpoint }) =>
    formatNumber(seriesOf(condition, fisherOf(quantity, checkpoint, of)).summary?.mean),
  );

const ORDER_COLUMNS: readonly Column<KernelComparison>[] = [
  names('Checkpoint', ({ checkpoint }) => checkpointName(checkpoint)),
  names('Quantity', ({ quantity }) => quantity.label),
  texts('Attack', ({ condition }) => blockLabel(condition)),
  texts('Adapter', ({ condition }) => condition.adapterLabel),
  kernelMean('Adapter’s kernel', 'lora'),
  kernelMean('Full kernel', 'full'),
  numbers('Pairs', ({ seeds, excluded }) => (
    <>
      {seeds.length}
      {excluded > 0 ? <span class="bad"> ({excluded} excluded)</span> : null}
    </>
  )),
  numbers('Difference', ({ difference }) => (difference ? formatMean(difference) : '–')),
  numbers('95% interval', ({ difference }) => (difference ? formatInterval(difference) : '–')),
  names('Order', ({ condition, difference }) => {
    if (difference === null) return '–';
    const own = condition.adapter === 'lora' ? 'LoRA' : 'adapter';
    return difference.mean <= 0 ? `${own} ≤ full` : `${own} > full`;
  }),
  claims('Claim: LoRA ≤ full', ({ verdict }) => (verdict ? <Judged verdict={verdict} /> : '–')),
];

/**
 * Shows every quantity of both kernels. Raw and normalised quantities can rank the kernels
 * differently, and so can Rényi entropies of different order α. So each has a row, and no row sums
 * them up.
 */
export const OrderTable = ({ comparisons: { kernels } }: PageProps): JSX.Element => (
  <Table
    label="LoRA kernel against full kernel"
    most={240}
    rows={kernels}
    starts={(row, above) => row.checkpoint !== above.checkpoint || row.quantity !== above.quantity}
    columns={ORDER_COLUMNS}
  />
);

/**
 * Shows how many eigenvalues count, because raw information bits depend on this number, and how far
 * training moved the kernels, because the regime of tangent kernels depends on that.
 */
export function CountTable({ conditions }: OfConditions): JSX.Element | null {
  const rows = conditions.filter(({ cells }) =>
    cells.some((cell) => lastFisher(cell) ?? cell.metrics['ntk']),
  );
  if (rows.length === 0) return null;
  // Writes the mean over a condition's seeds; `–` if none has the number.
  const mean = (condition: Condition, quantity: Quantity): string =>
    formatNumber(seriesOf(condition, quantity).summary?.mean);
  // Returns a column of a metric of `ntk`; estimates are marked with ≈.
  const metricColumn = (title: string, metric: string): Column<Condition> =>
    numbers(title, (condition) => {
      const about = isEstimated(condition.cells, 'ntk') ? '≈ ' : '';
      return `${about}${mean(condition, metricOf('ntk', metric))}`;
    });
  const countColumn = (title: string, of: Parametrisation): Column<Condition> =>
    numbers(title, (condition) =>
      mean(condition, (cell) => lastFisher(cell)?.[of]?.true?.count ?? null),
    );
  const hasEstimates = rows.some(({ cells }) => isEstimated(cells, 'ntk'));
  return (
    <Table
      label="Counts and drift"
      rows={rows}
      starts={startsBlock}
      caption={`Means over seeds.${hasEstimates ? ` ${ESTIMATED}` : ''}`}
      columns={[
        ATTACK,
        ADAPTER,
        countColumn('Eigenvalues that count, LoRA', 'lora'),
        countColumn('full', 'full'),
        metricColumn('cos(K_LoRA, K_full), init', 'init.alignment'),
        metricColumn('final', 'final.alignment'),
        metricColumn('‖K(T)−K(0)‖/‖K(0)‖, LoRA', 'lora.drift'),
        metricColumn('full', 'full.drift'),
      ]}
    />
  );
}

/**
 * Says how many seeds a prediction's comparisons have (`3` or `2–3`), and how many pairs they
 * exclude.
 */
const seedsText = ({ comparisons }: Prediction): JSX.Element => {
  const counts = comparisons.map(({ seeds }) => seeds.length);
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  const excluded = comparisons.reduce((sum, comparison) => sum + comparison.excluded, 0);
  return (
    <>
      {least === most ? least : `${least}–${most}`}
      {excluded > 0 ? <span class="bad"> ({plural(excluded, 'pair')} excluded)</span> : null}
    </>
  );
};

/**
 * Shows the comparisons with the lowest and the highest difference; if none has a difference, says
 * why their pairs are excluded.
 */
function Evidence({ comparisons }: Prediction): JSX.Element {
  const sorted = comparisons
    .flatMap(({ difference, ...rest }) => (difference === null ? [] : [{ ...rest, difference }]))
    .sort((a, b) => a.difference.mean - b.difference.mean);
  if (sorted.length === 0)
    return <>{distinct(comparisons.flatMap(({ reasons }) => reasons)).join('; ')}</>;
  const ends = sorted.length > 1 ? [sorted.slice(0, 1), sorted.slice(-1)].flat() : sorted;
  return (
    <>
      {ends.map(({ condition, checkpoint, difference }, i) => (
        <>
          {i > 0 ? <br /> : null}
          {ends.length === 1 ? '' : i === 0 ? 'from' : 'to'}{' '}
          <span class="whole">
            {formatMean(difference)} {formatInterval(difference)}
          </span>{' '}
          <span class="muted">
            {[
              condition.adapterLabel,
              checkpoint === 'init' ? startLabel(condition) : blockLabel(condition),
            ]
              .filter((text) => text !== '')
              .join(', ')}
          </span>
        </>
      ))}
    </>
  );
}

const PREDICTION_COLUMNS: readonly Column<Prediction>[] = [
  names('Prediction', ({ comparisons: [first] }) => `${first.quantity.label}: full ≥ LoRA`),
  names('Checkpoint', ({ comparisons: [first] }) => checkpointName(first.checkpoint)),
  names('Verdict', ({ state }) => <span class={`chip ${state}`}>{state}</span>),
  numbers('held', ({ held }) => held),
  numbers('refuted', ({ refuted }) => refuted),
  numbers('undecided', ({ undecided }) => undecided),
  numbers('Seeds', seedsText),
  texts('LoRA − full (nats), 95% interval', Evidence),
];

/** Shows the paper's predictions with the verdicts on them; null without kernels. */
export function Predictions({ comparisons: { kernels } }: PageProps): JSX.Element | null {
  if (kernels.length === 0) return null;
  return (
    <>
      <h3>What the paper predicts, and what was seen</h3>
      <Table
        label="Predictions"
        rows={predictionsOf(kernels)}
        starts={(row, above) => row.comparisons[0].checkpoint !== above.comparisons[0].checkpoint}
        columns={PREDICTION_COLUMNS}
      />
      <p class="muted small">
        A prediction is held or refuted where each of its comparisons is: its paired interval over
        at least {SEEDS_NEEDED} seeds, corrected by Holm’s method over the comparisons of that
        prediction, excludes zero by {RELATIVE_MARGIN * 100}% of the full kernel’s value. From and
        to: the comparisons (adapters, and after training attacks) with the lowest and the highest
        mean difference, with intervals before that correction; all are in the table below. Raw
        values depend on the kernel’s scale s²σ²: for raw H<sub>α</sub> with α &gt; 1 the smaller
        spectrum has the larger entropy.
      </p>
    </>
  );
}

type Prediction = ReturnType<typeof predictionsOf>[number];

/**
 * Groups the comparisons of LoRA by quantity and checkpoint. `state` is `held` or `refuted` if that
 * is the verdict on every one of them, else `undecided`.
 */
export function predictionsOf(kernels: readonly KernelComparison[]) {
  const ofLora = kernels.filter(({ condition }) => condition.adapter === 'lora');
  const groups = groupBy(ofLora, ({ quantity, checkpoint }) => `${checkpoint} ${quantity.id}`);
  return [...groups.values()].map((comparisons) => {
    const count = (state: Verdict['state']): number =>
      comparisons.filter(({ verdict }) => (verdict?.state ?? 'undecided') === state).length;
    const counts = {
      held: count('held'),
      refuted: count('refuted'),
      undecided: count('undecided'),
    };
    const state =
      (['held', 'refuted'] as const).find((one) => counts[one] === comparisons.length) ??
      'undecided';
    return { comparisons, ...counts, state };
  });
}

/** Cuts a t-interval at the bounds of a correlation, [−1, 1], which the interval may exceed. */
const clipToUnit = ({ low, high, ...rest }: Relation['difference']) => ({
  ...rest,
  low: low === null ? null : Math.max(-1, low),
  high: high === null ? null : Math.min(1, high),
});

const RELATION_COLUMNS: readonly Column<Relation>[] = [
  names('Quantity', ({ quantity }) => quantity.label),
  names('Checkpoint', ({ checkpoint }) => checkpointName(checkpoint)),
  names('With', ({ score }) => score.label),
  texts('Attack', ({ block }) => block),
  numbers('Adapters', ({ adapters, excluded }) => (
    <>
      {adapters}
      {excluded > 0 ? <span class="bad"> ({excluded} cells excluded)</span> : null}
    </>
  )),
  numbers('Seeds', ({ rhos, seeds }) =>
    rhos.length === seeds ? seeds : `${rhos.length} of ${seeds}`,
  ),
  numbers('Spearman’s ρ, mean', ({ difference }) => formatNumber(difference.mean, 'proportion')),
  numbers('95% interval', ({ difference }) => formatInterval(clipToUnit(difference), 'proportion')),
  names('Claim', ({ claimed }) => (claimed > 0 ? 'ρ > 0' : 'ρ < 0')),
  claims('Verdict', ({ verdict }) => <Judged verdict={verdict} kind="proportion" />),
];

/**
 * Shows how quantities of kernels correlate with what attacks achieved; null if no correlation can
 * be computed.
 */
export function Relations({ conditions }: OfConditions): JSX.Element | null {
  const rows = relationsOf(conditions);
  if (rows.length === 0) return null;
  return (
    <>
      <h3>Do they correlate with what attacks achieved?</h3>
      <p>
        The paper explains LoRA’s resistance to backdoors by fewer information bits, and its
        weakness under untargeted poisoning by a smaller entropy. If so, over the adapters of this
        grid (full fine-tuning among them, each with the kernel over what it trained) the attack
        success rate rises with information bits, and the accuracy drop falls with entropy.
      </p>
      <Table
        label="Information and attacks"
        most={240}
        rows={rows}
        starts={(row, above) => row.score !== above.score || row.checkpoint !== above.checkpoint}
        columns={RELATION_COLUMNS}
      />
      <p class="muted small">
        One rank correlation for each seed, over at least {ADAPTERS_NEEDED} adapters, except where
        all values of a quantity or of ASR are equal, which have no ranks; t-intervals over seeds,
        cut at ±1, of two seeds both values; the verdict rule with a margin of {CORRELATION_MARGIN}.
        Adapters that have learnt less of their task may also have learnt less of the poison: see
        clean accuracy.
      </p>
    </>
  );
}
