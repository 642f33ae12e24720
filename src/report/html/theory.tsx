/** Information bits, entropies, spectra, kernels, and whether the theorem's premise holds. */
import type { JSX } from 'preact';
import type { KernelComparison } from '../compare.ts';
import { checkpointName, ESTIMATED, fisherOf, isEstimated, lastFisher } from '../compare.ts';
import { blockLabel, type Condition, distinct, metricOf, seriesOf } from '../conditions.ts';
import { formatInterval, formatMean, formatNumber, formatSigned, plural } from '../format.ts';
import { premiseRows } from '../premise.ts';
import type { Figure, ReportCell } from '../types.ts';
import { TheoryMap } from './map.tsx';
import { Figures, Judged, Section, Table } from './parts.tsx';
import { Predictions, Relations } from './predictions.tsx';
import { Sensitivity } from './sensitivity.tsx';
import { Delta, Divergence, Regime, Spectrum } from './trained.tsx';

const yes = (holds: boolean): JSX.Element => (holds ? <>holds</> : <span class="bad">broken</span>);
const interval = ({ low, high }: { readonly low: number; readonly high: number }): string =>
  `[${formatSigned(low)}, ${formatSigned(high)}]`;
const ends = ({ low, high }: { readonly low: number; readonly high: number }): string =>
  `${formatNumber(low)} to ${formatNumber(high)}`;

export function Premise({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element {
  const rows = premiseRows(conditions);
  const measured = rows.some((row) => row.measured !== null);
  return (
    <Section id="premise" title="Does the theorem’s premise hold?">
      {rows.length === 0 ? (
        <p>
          No adapter of this grid draws a low-rank A, or none of them was trained: there is no
          premise to check.
        </p>
      ) : (
        <>
          <p>
            The theorem of the paper (arXiv 2505.12871) concerns M<sub>Δ</sub> = s²AᵀA − I, by which
            LoRA’s kernel differs from the full one while B = 0. M<sub>Δ</sub> has n − r eigenvalues
            −1 and r eigenvalues s²·eig(AAᵀ) − 1. It is negative semi-definite, so that LoRA’s
            kernel is the smaller, only if none of these exceeds 0.
          </p>
          <Table
            label="Premise of the theorem"
            rows={rows}
            starts={(row, i) => row.adapter !== rows[i - 1]!.adapter}
            columns={[
              { title: 'Adapter', kind: 'nowrap', value: ({ adapter }) => adapter },
              { title: 'Layers', kind: 'number', value: ({ layers }) => layers },
              { title: 'Fan-in n', kind: 'number', value: ({ n }) => n },
              { title: 'r', kind: 'number', value: ({ r }) => r },
              { title: 's', kind: 'number', value: ({ s }) => formatNumber(s) },
              { title: 'σ²', kind: 'number', value: ({ variance }) => formatNumber(variance) },
              {
                title: 'σ̂², sample',
                kind: 'number',
                value: ({ sample }) => (sample === null ? 'not measured' : ends(sample)),
              },
              { title: 'σ² < 1/n', kind: 'nowrap', value: ({ theorem }) => yes(theorem) },
              {
                title: 's²σ²n < 1',
                kind: 'nowrap',
                value: ({ withScale, scaled }) => (
                  <>
                    {formatNumber(scaled)} {yes(withScale)}
                  </>
                ),
              },
              { title: 'Predicted', kind: 'number', value: ({ predicted }) => interval(predicted) },
              {
                title: 'Measured',
                kind: 'number',
                value: (row) => (row.measured ? interval(row.measured) : 'not measured'),
              },
              {
                title: 'M_Δ ⪯ 0',
                kind: 'nowrap',
                value: (row) => (
                  <>
                    {row.negativeSemiDefinite ? 'yes' : <span class="bad">no</span>}
                    {row.measured ? '' : ' (predicted)'}
                  </>
                ),
              },
            ]}
          />
          <p class="muted small">
            Predicted: s²σ²n(1 ± √(r/n))² − 1 for the r eigenvalues that are not −1
            (Marchenko–Pastur, asymptotic).{' '}
            {measured
              ? 'Measured: their smallest and largest value over the layers and seeds, for the A that training started from.'
              : ''}{' '}
            σ̂² is the mean square of one A’s entries, smallest to largest over the layers and seeds:
            it lies on either side of σ², so the premise, which is on the initialiser, is tested on
            σ². σ² &lt; 1/n (with r ≤ n) is the premise as published; s²σ²n &lt; 1 is the one that
            counts, since K<sub>LoRA</sub> holds s².
          </p>
        </>
      )}
    </Section>
  );
}

interface TheoryProps {
  readonly cells: readonly ReportCell[];
  readonly conditions: readonly Condition[];
  readonly kernels: readonly KernelComparison[];
  readonly figures: {
    readonly information: readonly Figure[];
    readonly spectra: readonly Figure[];
    readonly maps: readonly Figure[];
    readonly ranks: readonly Figure[];
  };
  /** Cells whose kernels are not drawn. */
  readonly undrawn: number;
}

/** Raw and normalised orders can disagree, and do so by α: shown side by side rather than summed up. */
function OrderTable({ kernels }: { readonly kernels: readonly KernelComparison[] }): JSX.Element {
  return (
    <Table
      label="LoRA kernel against full kernel"
      most={240}
      rows={kernels}
      starts={(row, i) =>
        row.checkpoint !== kernels[i - 1]!.checkpoint || row.quantity !== kernels[i - 1]!.quantity
      }
      columns={[
        {
          title: 'Checkpoint',
          kind: 'nowrap',
          value: ({ checkpoint }) => checkpointName(checkpoint),
        },
        { title: 'Quantity', kind: 'nowrap', value: ({ quantity }) => quantity.label },
        { title: 'Attack', value: ({ condition }) => blockLabel(condition) },
        { title: 'Adapter', value: ({ condition }) => condition.adapterLabel },
        {
          title: 'LoRA kernel',
          kind: 'number',
          value: ({ condition, quantity, checkpoint }) =>
            formatNumber(seriesOf(condition, fisherOf(quantity, checkpoint, 'lora')).summary?.mean),
        },
        {
          title: 'Full kernel',
          kind: 'number',
          value: ({ condition, quantity, checkpoint }) =>
            formatNumber(seriesOf(condition, fisherOf(quantity, checkpoint, 'full')).summary?.mean),
        },
        {
          title: 'Pairs',
          kind: 'number',
          value: ({ seeds, excluded }) => (
            <>
              {seeds.length}
              {excluded > 0 ? <span class="bad"> ({excluded} excluded)</span> : null}
            </>
          ),
        },
        {
          title: 'Difference',
          kind: 'number',
          value: ({ difference }) => (difference ? formatMean(difference) : '–'),
        },
        {
          title: '95% interval',
          kind: 'number',
          value: ({ difference }) => (difference ? formatInterval(difference) : '–'),
        },
        {
          title: 'Order',
          kind: 'nowrap',
          value: ({ difference }) =>
            difference === null ? '–' : difference.mean <= 0 ? 'LoRA ≤ full' : 'LoRA > full',
        },
        {
          title: 'Claim: LoRA ≤ full',
          kind: 'claim',
          value: ({ verdict }) => (verdict ? <Judged verdict={verdict} /> : '–'),
        },
      ]}
    />
  );
}

/** How many eigenvalues count, and how far training moved the kernels: what raw IB and the NTK regime hang on. */
function CountTable({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  const rows = conditions.filter(({ cells }) =>
    cells.some((cell) => lastFisher(cell) ?? cell.metrics['ntk']),
  );
  if (rows.length === 0) return null;
  const mean =
    (metric: string, stage = 'ntk') =>
    (condition: Condition): string =>
      `${isEstimated(condition.cells, 'ntk') ? '≈ ' : ''}${formatNumber(seriesOf(condition, metricOf(stage, metric)).summary?.mean)}`;
  const count =
    (which: 'lora' | 'full') =>
    (condition: Condition): string =>
      formatNumber(
        seriesOf(condition, (cell) => lastFisher(cell)?.[which]?.true?.count ?? null).summary?.mean,
      );
  return (
    <Table
      label="Counts and drift"
      rows={rows}
      starts={(row, i) => blockLabel(row) !== blockLabel(rows[i - 1]!)}
      caption={`Means over seeds.${rows.some(({ cells }) => isEstimated(cells, 'ntk')) ? ` ${ESTIMATED}` : ''}`}
      columns={[
        { title: 'Attack', kind: 'nowrap', value: blockLabel },
        { title: 'Adapter', kind: 'nowrap', value: ({ adapterLabel }) => adapterLabel },
        { title: 'Eigenvalues that count, LoRA', kind: 'number', value: count('lora') },
        { title: 'full', kind: 'number', value: count('full') },
        { title: 'cos(K_LoRA, K_ff), init', kind: 'number', value: mean('init.alignment') },
        { title: 'final', kind: 'number', value: mean('final.alignment') },
        { title: '‖K(T)−K(0)‖/‖K(0)‖, LoRA', kind: 'number', value: mean('lora.drift') },
        { title: 'full', kind: 'number', value: mean('full.drift') },
      ]}
    />
  );
}

export function Theory({ cells, conditions, kernels, figures, undrawn }: TheoryProps): JSX.Element {
  const optimisers = distinct(
    conditions.flatMap(({ cells }) =>
      cells.map(({ train }) => String(train['optimizer'] ?? 'unknown')),
    ),
  );
  const measured = kernels.length > 0 || figures.spectra.length > 0 || figures.maps.length > 0;
  return (
    <Section id="theory" title="Fisher information and tangent kernels">
      {measured ? (
        <>
          <p>
            The claims are IB<sub>full</sub> ≥ IB<sub>LoRA</sub> and H<sub>full</sub> ≥ H
            <sub>LoRA</sub>. Both kernels are taken at the same weights: over A and B, and over the
            weights of the same layers. Trained with {optimisers.join(', ')}; the tangent kernel
            describes SGD, and only near its start.
          </p>
          <Predictions kernels={kernels} />
          {kernels.length === 0 ? null : (
            <details>
              <summary>
                Order of LoRA and full for every quantity ({plural(kernels.length, 'row')})
              </summary>
              <OrderTable kernels={kernels} />
            </details>
          )}
          <Relations conditions={conditions} />
          <Figures figures={figures.information} />
          <CountTable conditions={conditions} />
          <Sensitivity conditions={conditions} />
          {figures.spectra.length === 0 ? null : (
            <>
              <h3>Eigenvalue spectra</h3>
              <p>
                After training the Fisher information is dominated by p(1 − p), that is by
                confidence; the kernel’s own spectrum stands beside it.
              </p>
              <Figures figures={figures.spectra} />
            </>
          )}
          {figures.maps.length === 0 ? null : (
            <>
              <h3>Tangent kernels</h3>
              {undrawn > 0 ? (
                <p class="muted small">
                  The kernels of {plural(undrawn, 'other cell')} are not drawn; their .npy files are
                  in the store, under the keys below.
                </p>
              ) : null}
              <Figures figures={figures.maps} />
            </>
          )}
        </>
      ) : (
        <p>
          This run has no kernels or Fisher spectra (the stages <code>ntk</code> and{' '}
          <code>fisher</code> were not asked for, or failed).
        </p>
      )}
      <Delta conditions={conditions} />
      <Regime conditions={conditions} />
      <Divergence conditions={conditions} />
      <Spectrum conditions={conditions} />
      <TheoryMap cells={cells} figures={figures.ranks} />
    </Section>
  );
}
