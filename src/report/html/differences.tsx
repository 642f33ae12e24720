/** Each adapter against full fine-tuning, paired by seed, with the verdicts. */
import type { JSX } from 'preact';
import type { PairedDifference } from '../../base/stats.ts';
import type { AdapterComparison } from '../comparisons.ts';
import { formatInterval, formatMean, formatNumber } from '../format.ts';
import { blockLabel } from '../labels.ts';
import { PROPORTION_MARGIN, RELATIVE_MARGIN, SEEDS_NEEDED } from '../verdict.ts';
import { type Column, Judged, names, numbers, Table, texts } from './parts.tsx';

/**
 * Returns the effect size as text, without a number if all seeds have the same difference apart
 * from rounding.
 */
const effectText = ({ effect }: PairedDifference): string =>
  formatNumber(effect !== null && Math.abs(effect) < 1e6 ? effect : null);

const COLUMNS: readonly Column<AdapterComparison>[] = [
  names('Metric', ({ metric }) => metric.label),
  texts('Attack', ({ adapter }) => blockLabel(adapter)),
  names('Adapter − full', ({ adapter, full }) =>
    full.adapterLabel === 'full'
      ? adapter.adapterLabel
      : `${adapter.adapterLabel} − ${full.adapterLabel}`,
  ),
  numbers('Pairs', ({ seeds, incomplete, excluded }) => (
    <>
      {seeds.length}
      {incomplete > 0 ? <span class="bad"> ({incomplete} incomplete)</span> : null}
      {excluded > 0 ? <span class="bad"> ({excluded} excluded)</span> : null}
    </>
  )),
  numbers('Difference', ({ difference, metric }) =>
    difference === null ? '–' : formatMean(difference, metric.kind),
  ),
  numbers('95% interval', ({ difference, metric }) =>
    difference === null ? '–' : formatInterval(difference, metric.kind),
  ),
  numbers('Effect size d_z', ({ difference }) =>
    difference === null ? '–' : effectText(difference),
  ),
  {
    title: 'Claim of the paper',
    kind: 'claim',
    value: ({ verdict, metric, excluded, reasons }) => (
      <>
        {verdict ? <Judged verdict={verdict} kind={metric.kind} /> : '–'}
        {excluded > 0 ? <span class="bad small"> excluded: {reasons.join('; ')}</span> : null}
      </>
    ),
  },
];

export function Differences({
  comparisons,
}: {
  readonly comparisons: readonly AdapterComparison[];
}): JSX.Element {
  return (
    <>
      <h3>Adapter against full fine-tuning, paired by seed</h3>
      {comparisons.length === 0 ? (
        <p>
          There is no complete pair of an adapter and full fine-tuning (same attack, setting and
          seed) to compare.
        </p>
      ) : (
        <>
          <Table
            label="Paired differences"
            most={240}
            rows={comparisons}
            starts={(row, above) => row.metric !== above.metric}
            columns={COLUMNS}
          />
          <p class="muted small">
            d_z is the mean difference over the standard deviation of the differences (– where it
            has none). The paper (arXiv 2505.12871) claims that LoRA has the lower ASR under a
            backdoor and the larger accuracy drop under untargeted poisoning. A claim is{' '}
            <em>held</em> or <em>refuted</em> when its paired 95% interval over at least{' '}
            {SEEDS_NEEDED} seeds, corrected by Holm’s method over all comparisons of that claim,
            excludes zero by the declared margin ({PROPORTION_MARGIN} for accuracies and rates,{' '}
            {RELATIVE_MARGIN * 100}% of the full kernel’s value for information bits and entropies);
            else it is <em>undecided</em>.
          </p>
        </>
      )}
    </>
  );
}
