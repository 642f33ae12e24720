/** Whether the premise of the paper's theorem holds for each adapter. */
import type { JSX } from 'preact';
import { formatNumber, formatSigned } from '../format.ts';
import { type PremiseRow, premiseRows } from '../premise.ts';
import { type Chapter, type Column, names, numbers, type PageProps, Table } from './parts.tsx';

interface Ends {
  readonly low: number;
  readonly high: number;
}
const interval = ({ low, high }: Ends): string => `[${formatSigned(low)}, ${formatSigned(high)}]`;
const range = ({ low, high }: Ends): string => `${formatNumber(low)} to ${formatNumber(high)}`;
const holdsText = (holds: boolean): JSX.Element =>
  holds ? <>holds</> : <span class="bad">broken</span>;

const COLUMNS: readonly Column<PremiseRow>[] = [
  names('Adapter', ({ adapter }) => adapter),
  numbers('Layers', ({ layers }) => layers),
  numbers('Fan-in n', ({ n }) => n),
  numbers('r', ({ r }) => r),
  numbers('s', ({ s }) => formatNumber(s)),
  numbers('σ²', ({ variance }) => formatNumber(variance)),
  numbers('σ̂², sample', ({ sample }) => (sample === null ? 'not measured' : range(sample))),
  names('σ² < 1/n', ({ theorem }) => holdsText(theorem)),
  names('s²σ²n < 1', ({ withScale, scaled }) => (
    <>
      {formatNumber(scaled)} {holdsText(withScale)}
    </>
  )),
  numbers('Predicted', ({ predicted }) => interval(predicted)),
  numbers('Measured', ({ measured }) => (measured ? interval(measured) : 'not measured')),
  names('M_Δ ⪯ 0', ({ negativeSemiDefinite, measured }) => (
    <>
      {negativeSemiDefinite ? 'yes' : <span class="bad">no</span>}
      {measured ? '' : ' (predicted)'}
    </>
  )),
];

function Premise({ conditions }: PageProps): JSX.Element {
  const rows = premiseRows(conditions);
  if (rows.length === 0)
    return (
      <p>
        No adapter of this grid draws a low-rank A, or none of them was trained: there is no premise
        to check.
      </p>
    );
  return (
    <>
      <p>
        The theorem of the paper (arXiv 2505.12871) concerns M<sub>Δ</sub> = s²AᵀA − I, by which
        LoRA’s kernel differs from the full one while B = 0. M<sub>Δ</sub> has n − r eigenvalues −1
        and r eigenvalues s²·eig(AAᵀ) − 1. It is negative semi-definite, so that LoRA’s kernel is
        the smaller, only if none of these exceeds 0.
      </p>
      <Table
        label="Premise of the theorem"
        rows={rows}
        starts={(row, above) => row.adapter !== above.adapter}
        columns={COLUMNS}
      />
      <p class="muted small">
        Predicted: s²σ²n(1 ± √(r/n))² − 1 for the r eigenvalues that are not −1 (Marchenko–Pastur,
        asymptotic).{' '}
        {rows.some(({ measured }) => measured !== null)
          ? 'Measured: their smallest and largest value over the layers and seeds, for the A ' +
            'that training started from.'
          : ''}{' '}
        σ̂² is the mean square of one A’s entries, smallest to largest over the layers and seeds: it
        lies on either side of σ², so the premise, which is on the initialiser, is tested on σ². σ²
        &lt; 1/n (with r ≤ n) is the premise as published; s²σ²n &lt; 1 is the one that counts,
        since K<sub>LoRA</sub> holds s².
      </p>
    </>
  );
}

export const premise: Chapter = {
  id: 'premise',
  nav: 'Premise',
  title: 'Does the theorem’s premise hold?',
  concerns: ({ theorem }) => theorem,
  parts: [Premise],
};
