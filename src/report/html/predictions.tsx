/** The paper's predictions, each marked by the verdict rule, and whether they go with what attacks achieved. */
import type { JSX } from 'preact';
import { checkpointName, type KernelComparison } from '../compare.ts';
import { blockLabel, type Condition, distinct } from '../conditions.ts';
import { formatInterval, formatMean, formatNumber, plural } from '../format.ts';
import { CORRELATION_MARGIN, RELATIVE_MARGIN } from '../metrics.ts';
import { type Prediction, predictionsOf } from '../predictions.ts';
import { ADAPTERS_NEEDED, type Relation, relationsOf } from '../relations.ts';
import { SEEDS_NEEDED } from '../verdict.ts';
import { Judged, Table } from './parts.tsx';

const seedsOf = ({ comparisons }: Prediction): JSX.Element => {
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

/** The two ends of what was seen, so that no choice is made between. */
function Evidence({ comparisons }: Prediction): JSX.Element {
  const sorted = comparisons
    .flatMap(({ difference, ...rest }) => (difference === null ? [] : [{ ...rest, difference }]))
    .sort((a, b) => a.difference.mean - b.difference.mean);
  if (sorted.length === 0)
    return <>{distinct(comparisons.flatMap(({ reasons }) => reasons)).join('; ')}</>;
  const ends =
    sorted.length > 1
      ? [['from', sorted[0]!] as const, ['to', sorted.at(-1)!] as const]
      : [['', sorted[0]!] as const];
  return (
    <>
      {ends.map(([which, { condition, checkpoint, difference }], i) => (
        <>
          {i > 0 ? <br /> : null}
          {which}{' '}
          <span class="whole">
            {formatMean(difference)} {formatInterval(difference)}
          </span>{' '}
          <span class="muted">
            {condition.adapterLabel}
            {checkpoint === 'init' ? '' : `, ${blockLabel(condition)}`}
          </span>
        </>
      ))}
    </>
  );
}

export function Predictions({
  kernels,
}: {
  readonly kernels: readonly KernelComparison[];
}): JSX.Element | null {
  if (kernels.length === 0) return null;
  const rows = predictionsOf(kernels);
  return (
    <>
      <h3>What the paper predicts, and what was seen</h3>
      <Table
        label="Predictions"
        rows={rows}
        starts={(row, i) =>
          row.comparisons[0]!.checkpoint !== rows[i - 1]!.comparisons[0]!.checkpoint
        }
        columns={[
          {
            title: 'Prediction',
            kind: 'nowrap',
            value: ({ comparisons: [first] }) => `${first!.quantity.label}: full ≥ LoRA`,
          },
          {
            title: 'Checkpoint',
            kind: 'nowrap',
            value: ({ comparisons: [first] }) => checkpointName(first!.checkpoint),
          },
          {
            title: 'Verdict',
            kind: 'nowrap',
            value: ({ state }) => <span class={`chip ${state}`}>{state}</span>,
          },
          { title: 'held', kind: 'number', value: ({ held }) => held },
          { title: 'refuted', kind: 'number', value: ({ refuted }) => refuted },
          { title: 'undecided', kind: 'number', value: ({ undecided }) => undecided },
          { title: 'Seeds', kind: 'number', value: seedsOf },
          { title: 'LoRA − full (nats), 95% interval', value: Evidence },
        ]}
      />
      <p class="muted small">
        A prediction is held or refuted where each of its comparisons is: its paired interval over
        at least {SEEDS_NEEDED} seeds, corrected by Holm’s method over the comparisons of that
        prediction, excludes zero by {RELATIVE_MARGIN * 100}% of the full kernel’s value. From and
        to: the comparisons (adapters, and after training attacks) with the lowest and the highest
        mean difference, with intervals before that correction; all are in the table below. Raw
        values move with the kernel’s scale s²σ²: for raw H<sub>α</sub> with α &gt; 1 the smaller
        spectrum has the larger entropy.
      </p>
    </>
  );
}

/** A t-interval knows nothing of a correlation's bounds. */
const withinUnit = ({
  n,
  low,
  high,
}: Relation['difference']): Pick<Relation['difference'], 'n' | 'low' | 'high'> => ({
  n,
  low: low === null ? null : Math.max(-1, low),
  high: high === null ? null : Math.min(1, high),
});

export function Relations({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  const rows = relationsOf(conditions);
  if (rows.length === 0) return null;
  return (
    <>
      <h3>Do they go with what attacks achieved?</h3>
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
        starts={(row, i) =>
          row.score !== rows[i - 1]!.score || row.checkpoint !== rows[i - 1]!.checkpoint
        }
        columns={[
          { title: 'Quantity', kind: 'nowrap', value: ({ quantity }) => quantity.label },
          {
            title: 'Checkpoint',
            kind: 'nowrap',
            value: ({ checkpoint }) => checkpointName(checkpoint),
          },
          { title: 'With', kind: 'nowrap', value: ({ score }) => score.label },
          { title: 'Attack', value: ({ block }) => block },
          {
            title: 'Adapters',
            kind: 'number',
            value: ({ adapters, excluded }) => (
              <>
                {adapters}
                {excluded > 0 ? <span class="bad"> ({excluded} cells excluded)</span> : null}
              </>
            ),
          },
          { title: 'Seeds', kind: 'number', value: ({ rhos }) => rhos.length },
          {
            title: 'Spearman’s ρ, mean',
            kind: 'number',
            value: ({ difference }) => formatNumber(difference.mean, 'proportion'),
          },
          {
            title: '95% interval',
            kind: 'number',
            value: ({ difference }) => formatInterval(withinUnit(difference), 'proportion'),
          },
          {
            title: 'Claim',
            kind: 'nowrap',
            value: ({ claimed }) => (claimed > 0 ? 'ρ > 0' : 'ρ < 0'),
          },
          {
            title: 'Verdict',
            kind: 'claim',
            value: ({ verdict }) => <Judged verdict={verdict} kind="proportion" />,
          },
        ]}
      />
      <p class="muted small">
        One rank correlation a seed, over its adapters ({ADAPTERS_NEEDED} at least); t-intervals
        over seeds, cut at ±1, beyond which there is no ρ; the verdict rule with a margin of{' '}
        {CORRELATION_MARGIN}. Adapters that have learnt less of their task may also have learnt less
        of the poison: see clean accuracy.
      </p>
    </>
  );
}
