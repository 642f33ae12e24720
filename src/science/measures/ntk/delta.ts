/**
 * The matrix M_Δ = s²AᵀA − I (n, n) of a layer with inputs h and output derivatives δ. At B = 0,
 * K_LoRA − K_ff = Σ (δ·δ')(hᵀ M_Δ h'), and the theorem asks that M_Δ be negative semi-definite. M_Δ
 * has the eigenvalue −1 at least n − r times. The other r are s²·eig(AAᵀ) − 1, so they follow from
 * an r × r matrix.
 */
import { strictlyBelow } from '../../../base/rounding.ts';
import { symmetricEigenvalues } from '../../../tensor/linalg.ts';
import type { LoraFactors } from '../../models/types.ts';

interface Interval {
  readonly low: number;
  readonly high: number;
}

/** The theorem's premises for one layer, and whether they hold. An entry of `premise.json`. */
export interface Premise {
  readonly layer: string;
  readonly rank: number; // r
  readonly width: number; // n, the layer's fan-in
  readonly scale: number; // s
  /** σ² of A's distribution; the same as `sample_variance` where `variance_of` is `sample`. */
  readonly variance: number;
  /**
   * `spec`: the spec states σ². `sample`: no σ² is stated, since A came from a folder or was
   * trained.
   */
  readonly variance_of: 'spec' | 'sample';
  /** σ̂², the mean square of A's entries. */
  readonly sample_variance: number;
  /** s²σ²n, around which the eigenvalues of s²AAᵀ spread. `scaled` demands that it be below 1. */
  readonly level: number;
  /** s²σ̂²n */
  readonly sample_level: number;
  /** σ² < 1/n and r ≤ n, the theorem's premise on the initialiser, tested on `variance`. */
  readonly stated: boolean;
  /** s²σ² < 1/n and r ≤ n, which the proof needs. */
  readonly scaled: boolean;
  /** The two premises with σ̂² in place of σ². */
  readonly sample_stated: boolean;
  readonly sample_scaled: boolean;
  /** The Marchenko–Pastur limits of the r eigenvalues of M_Δ that are not −1. */
  readonly predicted: Interval;
  /** The measured extremes of these r eigenvalues. */
  readonly measured: Interval;
  /** Whether M_Δ is negative semi-definite: s²λmax(AAᵀ) ≤ 1. */
  readonly negative_semidefinite: boolean;
  /** Whether B = 0. If not, K_LoRA − K_ff has a further term besides the one with M_Δ. */
  readonly zero_b: boolean;
}

/**
 * Returns the limits s²σ²n(1 ± √(r/n))² − 1 between which the eigenvalues lie as n grows, for r ≤
 * n.
 * @param scaledVariance s²σ²
 */
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
 * Returns the theorem's premises for one layer. Throws RangeError where A is not (r, n).
 * @param A (r, n), row-major
 * @param B (m, r)
 * @param variance σ² of A's distribution; undefined where none is stated, or A has been trained
 */
export function premise(
  layer: string,
  {
    A,
    B,
    rank,
    width,
    scale,
    variance: stated,
  }: {
    readonly A: ArrayLike<number>;
    readonly B: ArrayLike<number>;
    readonly rank: number;
    readonly width: number;
    readonly scale: number;
    readonly variance?: number | undefined;
  },
): Premise {
  if (A.length !== rank * width)
    throw new RangeError(`A of ${layer} has ${A.length} entries, not ${rank} × ${width}`);
  const AAt = gramian(A, rank, width);
  let squares = 0;
  for (let i = 0; i < rank; i++) squares += AAt[i * rank + i]!;
  const sample = squares / (rank * width);
  const variance = stated ?? sample;
  const eigenvalues = symmetricEigenvalues(AAt, rank);
  const high = scale ** 2 * eigenvalues[0]! - 1,
    low = scale ** 2 * eigenvalues[rank - 1]! - 1;
  /** Whether `tested`, σ² or s²σ², is below 1/n, and r ≤ n. */
  const premiseHolds = (tested: number): boolean =>
    rank <= width && strictlyBelow(tested, 1 / width);
  return {
    layer,
    rank,
    width,
    scale,
    variance,
    variance_of: stated === undefined ? 'sample' : 'spec',
    sample_variance: sample,
    level: scale ** 2 * variance * width,
    sample_level: scale ** 2 * sample * width,
    stated: premiseHolds(variance),
    scaled: premiseHolds(scale ** 2 * variance),
    sample_stated: premiseHolds(sample),
    sample_scaled: premiseHolds(scale ** 2 * sample),
    predicted: marchenkoPastur(rank, width, scale ** 2 * variance),
    measured: { low, high },
    negative_semidefinite: high <= 0,
    zero_b: Array.from(B).every((value) => value === 0),
  };
}

interface Factor {
  readonly shape: readonly number[];
  data(): Promise<ArrayLike<number>>;
}

/** What `premises` reads of an `AdaptedModel`. */
export interface ModelOfPremises {
  readonly layers: readonly {
    readonly name: string;
    readonly in: number;
    readonly lora?: Pick<LoraFactors, 'scale' | 'variance' | 'freezeA'> & {
      readonly A: Factor;
      readonly B: Factor;
      readonly dora?: object;
    };
  }[];
  weightName(layer: string): string;
}

/**
 * Returns the premises of every layer whose weight is W + s·B·A, by the checkpoint's names. There
 * are none for full fine-tuning, DoRA and VeRA.
 * @param asDrawn whether each A is as it was drawn, so that the spec's σ² holds; it always holds
 *   for an A that is not trained
 */
export async function premises(
  model: ModelOfPremises,
  { asDrawn }: { readonly asDrawn: boolean },
): Promise<Premise[]> {
  const found: Premise[] = [];
  for (const { name, in: width, lora } of model.layers) {
    if (lora === undefined || lora.dora !== undefined) continue;
    const [A, B] = await Promise.all([lora.A.data(), lora.B.data()]);
    found.push(
      premise(model.weightName(name), {
        A,
        B,
        rank: lora.A.shape[0] ?? 0,
        width,
        scale: lora.scale,
        variance: asDrawn || lora.freezeA === true ? lora.variance : undefined,
      }),
    );
  }
  return found;
}
