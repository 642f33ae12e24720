/**
 * M_Δ = s²AᵀA − I (n, n) of a layer: at B = 0, K_LoRA − K_ff = Σ (δ·δ')(hᵀ M_Δ h'), and the theorem asks that M_Δ be
 * negative semi-definite. Its spectrum is n − r times −1 and s²·eig(AAᵀ) − 1, so an r × r matrix tells all of it.
 */
import { symmetricEigenvalues } from '../linalg/eigenvalues.ts';
import type { AdaptedModel } from '../nn/types.ts';

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** What the theorem presumes of one layer, and what holds. JSON as `premise.json` keeps it. */
export interface Premise {
  readonly layer: string;
  readonly rank: number; // r
  readonly width: number; // n, the layer's fan-in
  readonly scale: number; // s
  /** Mean square of A's entries, the estimate of σ². */
  readonly variance: number;
  /** s²σ²n: what s²·eig(AAᵀ) spreads around. The premise with the scale is that it is below 1. */
  readonly level: number;
  /** σ² < 1/n and r ≤ n, as the theorem states it. */
  readonly stated: boolean;
  /** s²σ² < 1/n and r ≤ n: what its proof needs. */
  readonly scaled: boolean;
  /** Marchenko–Pastur's limits of the r eigenvalues of M_Δ that are not −1. */
  readonly predicted: Interval;
  /** Their measured extremes. */
  readonly measured: Interval;
  /** s²λmax(AAᵀ) ≤ 1. */
  readonly negative_semidefinite: boolean;
  /** Whether B = 0, without which Δ_r is not all of K_LoRA − K_ff. */
  readonly zero_b: boolean;
}

/** s²σ²n(1 ± √(r/n))² − 1 for r ≤ n, asymptotic in n. */
export function marchenkoPastur(rank: number, width: number, scaledVariance: number): Interval {
  const spread = Math.sqrt(rank / width);
  return {
    low: scaledVariance * width * (1 - spread) ** 2 - 1,
    high: scaledVariance * width * (1 + spread) ** 2 - 1,
  };
}

/** AAᵀ in double precision. A: (r, n), row-major → (r, r). */
function gramian(A: ArrayLike<number>, r: number, n: number): Float64Array {
  const out = new Float64Array(r * r);
  for (let i = 0; i < r; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += A[i * n + k]! * A[j * n + k]!;
      out[i * r + j] = sum;
      out[j * r + i] = sum;
    }
  }
  return out;
}

/**
 * The premise facts of a layer.
 * @param A (r, n), row-major
 * @param B (m, r)
 */
export function premise(
  layer: string,
  {
    A,
    B,
    rank,
    width,
    scale,
  }: {
    readonly A: ArrayLike<number>;
    readonly B: ArrayLike<number>;
    readonly rank: number;
    readonly width: number;
    readonly scale: number;
  },
): Premise {
  if (A.length !== rank * width)
    throw new RangeError(`A of ${layer} has ${A.length} entries, not ${rank} × ${width}`);
  const AAt = gramian(A, rank, width);
  let squares = 0;
  for (let i = 0; i < rank; i++) squares += AAt[i * rank + i]!;
  const variance = squares / (rank * width);
  const eigenvalues = symmetricEigenvalues(AAt, rank);
  const high = scale ** 2 * eigenvalues[0]! - 1,
    low = scale ** 2 * eigenvalues[rank - 1]! - 1;
  const narrow = rank <= width;
  return {
    layer,
    rank,
    width,
    scale,
    variance,
    level: scale ** 2 * variance * width,
    stated: narrow && variance < 1 / width,
    scaled: narrow && scale ** 2 * variance < 1 / width,
    predicted: marchenkoPastur(rank, width, scale ** 2 * variance),
    measured: { low, high },
    negative_semidefinite: high <= 0,
    zero_b: Array.from(B).every((value) => value === 0),
  };
}

/** Of every layer that LoRA adapts, by the checkpoint's own parameter names; none for full fine-tuning. */
export async function premises(model: AdaptedModel): Promise<Premise[]> {
  const found: Premise[] = [];
  for (const { name, in: width, lora } of model.layers) {
    if (lora === undefined) continue;
    const [A, B] = await Promise.all([lora.A.data<'float32'>(), lora.B.data<'float32'>()]);
    found.push(
      premise(model.weightName(name), { A, B, rank: lora.A.shape[0], width, scale: lora.scale }),
    );
  }
  return found;
}
