/**
 * Lists where the paper is imprecise, and what is measured instead (docs/theory.md, corrections).
 */
import type { JSX } from 'preact';
import type { Chapter, PageProps } from './parts.tsx';

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

const RunCorrections = (): JSX.Element => (
  <>
    <li>
      <strong>Runs are compared on effective weights.</strong> M is taken on ΔW = W<sub>eff</sub>
      (t) − W<sub>eff</sub>(0), not on A and B, whose scale is a convention; the head stands apart,
      and what else an adapter trains (biases, norms, embeddings) is given beside it by kind. Each M
      has a noise floor: how far rounding alone carries the same training. M′ sees texts alone and
      is blind to attacks on labels.
    </li>
    <li>
      <strong>ASR counts non-target rows only.</strong> Accuracy under a trigger, as in the paper’s
      code, counts the target class too.
    </li>
  </>
);

const Corrections = ({ theorem }: PageProps): JSX.Element => (
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
      <RunCorrections />
    </ul>
  </>
);

export const corrections: Chapter = {
  id: 'measured',
  nav: 'Against the paper',
  title: 'What is measured, and how it differs from the paper',
  parts: [Corrections],
};
