/** The paper's predictions of the Fisher information, each marked by the verdict rule. */
import type { JSX } from 'preact';
import { checkpointName } from '../fisher.ts';
import { formatInterval, formatMean, plural } from '../format.ts';
import { distinct } from '../groups.ts';
import type { KernelComparison } from '../kernels.ts';
import { blockLabel } from '../labels.ts';
import { RELATIVE_MARGIN } from '../margins.ts';
import { type Prediction, predictionsOf } from '../predictions.ts';
import { SEEDS_NEEDED } from '../verdict.ts';
import { type Column, Table } from './parts.tsx';

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
 * Shows the comparisons with the lowest and the highest difference, so that none is singled out.
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
            {condition.adapterLabel}
            {checkpoint === 'init' ? '' : `, ${blockLabel(condition)}`}
          </span>
        </>
      ))}
    </>
  );
}

const COLUMNS: readonly Column<Prediction>[] = [
  {
    title: 'Prediction',
    kind: 'nowrap',
    value: ({ comparisons: [first] }) => `${first.quantity.label}: full ≥ LoRA`,
  },
  {
    title: 'Checkpoint',
    kind: 'nowrap',
    value: ({ comparisons: [first] }) => checkpointName(first.checkpoint),
  },
  {
    title: 'Verdict',
    kind: 'nowrap',
    value: ({ state }) => <span class={`chip ${state}`}>{state}</span>,
  },
  { title: 'held', kind: 'number', value: ({ held }) => held },
  { title: 'refuted', kind: 'number', value: ({ refuted }) => refuted },
  { title: 'undecided', kind: 'number', value: ({ undecided }) => undecided },
  { title: 'Seeds', kind: 'number', value: seedsText },
  { title: 'LoRA − full (nats), 95% interval', value: Evidence },
];

export function Predictions({
  kernels,
}: {
  readonly kernels: readonly KernelComparison[];
}): JSX.Element | null {
  if (kernels.length === 0) return null;
  return (
    <>
      <h3>What the paper predicts, and what was seen</h3>
      <Table
        label="Predictions"
        rows={predictionsOf(kernels)}
        starts={(row, above) => row.comparisons[0].checkpoint !== above.comparisons[0].checkpoint}
        columns={COLUMNS}
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
