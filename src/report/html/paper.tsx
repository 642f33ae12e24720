/**
 * The paper's theorem and text: whether the premise holds for each adapter, and where the paper is
 * imprecise, with what is measured instead (docs/theory.md, corrections).
 */
import type { JSX } from 'preact';
import { formatNumber, formatSigned } from '../format.ts';
import { type PremiseRow, premiseRows } from '../theory.ts';
import { type Chapter, type Column, names, numbers, type PageProps, Table } from './parts.tsx';

interface Ends {
  readonly low: number;
  readonly high: number;
}
const intervalText = ({ low, high }: Ends): string =>
  `[${formatSigned(low)}, ${formatSigned(high)}]`;
const rangeText = ({ low, high }: Ends): string => `${formatNumber(low)} to ${formatNumber(high)}`;
const holdsText = (holds: boolean): JSX.Element =>
  holds ? <>holds</> : <span class="bad">broken</span>;

const PREMISE_COLUMNS: readonly Column<PremiseRow>[] = [
  names('Adapter', ({ adapter }) => adapter),
  numbers('Layers', ({ layers }) => layers),
  numbers('Fan-in n', ({ n }) => n),
  numbers('r', ({ r }) => r),
  numbers('s', ({ s }) => formatNumber(s)),
  numbers('σ²', ({ variance }) => formatNumber(variance)),
  numbers('σ̂², sample', ({ sample }) => (sample === null ? 'not measured' : rangeText(sample))),
  names('σ² < 1/n', ({ theorem }) => holdsText(theorem)),
  names('s²σ²n < 1', ({ withScale, scaled }) => (
    <>
      {formatNumber(scaled)} {holdsText(withScale)}
    </>
  )),
  numbers('Predicted', ({ predicted }) => intervalText(predicted)),
  numbers('Measured', ({ measured }) => (measured ? intervalText(measured) : 'not measured')),
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
        columns={PREMISE_COLUMNS}
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

const KernelCorrections = (): JSX.Element => (
  <>
    <li>
      <strong>s is kept.</strong> The paper writes M<sub>Δ</sub> = AᵀA − I and drops LoRA’s scale s.
      At B = 0, K<sub>LoRA</sub> = K<sub>full</sub> + Σ(δ·δ′)(hᵀM<sub>Δ</sub>h′) holds with M
      <sub>Δ</sub> = s²AᵀA − I.
    </li>
    <li>
      <strong>
        M<sub>Δ</sub>’s eigenvalues.
      </strong>{' '}
      The paper gives σ²n and 0, which are AᵀA’s idealised ones. M<sub>Δ</sub> has n − r eigenvalues
      −1, and r eigenvalues s²·eig(AAᵀ) − 1, with eig(AAᵀ) spread around σ²n(1 ± √(r/n))².
    </li>
  </>
);

const InformationCorrections = (): JSX.Element => (
  <>
    <li>
      <strong>Fisher information.</strong> The paper’s scalar is the trace of the empirical Fisher,
      with the gradient taken by the logits. Here its whole spectrum is used: of the true Fisher
      (labels drawn from the model) in figures and claims, and of the empirical one beside it in the
      stored files.
    </li>
    <li>
      <strong>Information bits have a logarithm.</strong> IB = ½ log pdet F = ½ Σ<sub>λ&gt;0</sub>{' '}
      log λ; the paper omits it. Raw IB depends on the kernel’s scale (s²σ²) and on how many
      eigenvalues count, so ½ Σ log(λ/Σλ) is given too; its order over ranks depends on whether α is
      fixed or α = r.
    </li>
    <li>
      <strong>Raw Rényi entropy is not an entropy</strong> unless Σλ = 1: scaling λ by c adds
      α/(1−α)·log c, so below α = 1 the larger spectrum has the larger H<sub>α</sub>, above it the
      smaller. The order is given for each α, raw and normalised.
    </li>
    <li>
      <strong>The closed-form map</strong> (the paper’s Figure 3) is drawn by the stage{' '}
      <code>theory-map</code>, beside what is measured. As published its H₂ sums squared diagonal
      entries of AᵀA and drops the sign; exactly, E Σλ² = σ⁴rd(d + r + 1) for a Gaussian A and
      σ⁴rd(d + r − 1/5) for a uniform one, and H₂ = −log Σλ². Its H₁ is log(σ²rd) once a factor that
      diverges is dropped.
    </li>
  </>
);

const MovedCorrections = (): JSX.Element => (
  <li>
    <strong>Runs are compared on effective weights.</strong> M is taken on ΔW = W<sub>eff</sub>
    (t) − W<sub>eff</sub>(0), not on A and B, whose scale is a convention; the head stands apart,
    and what else an adapter trains (biases, norms, embeddings) is given beside it by kind. Each M
    has a noise floor: how far rounding alone carries the same training. M′ sees texts alone and is
    blind to attacks on labels.
  </li>
);

const Corrections = ({ theorem, input: { goals } }: PageProps): JSX.Element => (
  <>
    <p>
      Source: “Does Low Rank Adaptation Lead to Lower Robustness against Training-time Attacks?”,
      ICML 2025, arXiv 2505.12871. Fine-tuning is W = W₀ + s·B·A for LoRA. Logarithms are natural;
      everything is evaluated without dropout.
    </p>
    <ul>
      {theorem ? (
        <>
          <KernelCorrections />
          <InformationCorrections />
        </>
      ) : null}
      {goals.includes('divergence') ? <MovedCorrections /> : null}
      <li>
        <strong>ASR counts non-target rows only.</strong> Accuracy under a trigger, as in the
        paper’s code, counts the target class too.
      </li>
    </ul>
  </>
);

export const corrections: Chapter = {
  id: 'measured',
  nav: 'Against the paper',
  title: 'What is measured, and how it differs from the paper',
  parts: [Corrections],
};
