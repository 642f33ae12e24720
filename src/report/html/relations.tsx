/** Shows whether information bits and entropies correlate with what the attacks achieved. */
import type { JSX } from 'preact';
import type { Condition } from '../conditions.ts';
import { checkpointName } from '../fisher.ts';
import { formatInterval, formatNumber } from '../format.ts';
import { CORRELATION_MARGIN } from '../margins.ts';
import { ADAPTERS_NEEDED, type Relation, relationsOf } from '../relations.ts';
import { type Column, Judged, Table } from './parts.tsx';

/** Clips an interval to [−1, 1], because a t-interval may exceed the bounds of a correlation. */
const withinUnit = ({ low, high, ...rest }: Relation['difference']) => ({
  ...rest,
  low: low === null ? null : Math.max(-1, low),
  high: high === null ? null : Math.min(1, high),
});

const COLUMNS: readonly Column<Relation>[] = [
  { title: 'Quantity', kind: 'nowrap', value: ({ quantity }) => quantity.label },
  { title: 'Checkpoint', kind: 'nowrap', value: ({ checkpoint }) => checkpointName(checkpoint) },
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
  { title: 'Claim', kind: 'nowrap', value: ({ claimed }) => (claimed > 0 ? 'ρ > 0' : 'ρ < 0') },
  {
    title: 'Verdict',
    kind: 'claim',
    value: ({ verdict }) => <Judged verdict={verdict} kind="proportion" />,
  },
];

export function Relations({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
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
        columns={COLUMNS}
      />
      <p class="muted small">
        One rank correlation for each seed, over at least {ADAPTERS_NEEDED} adapters; t-intervals
        over seeds, cut at ±1, of two seeds both values; the verdict rule with a margin of{' '}
        {CORRELATION_MARGIN}. Adapters that have learnt less of their task may also have learnt less
        of the poison: see clean accuracy.
      </p>
    </>
  );
}
