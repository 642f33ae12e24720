/**
 * The kernel between two sets of rows, pair by pair: M' = E_(x,x̃) Σ_c K[(x,c),(x̃,c)], raw and as
 * a cosine (docs/theory.md, How far poison carries the weights). Of class logits it depends on
 * texts only: where only the label was poisoned, x̃ = x and every cosine is 1. Of log p(answer) each
 * row's output is that of its own answer, so it sees an answer that was poisoned.
 */
import type { AdaptedModel, TokenRow } from '../model/types.ts';
import { type KernelOptions, kernels } from './kernels.ts';

export interface PairKernel {
  /** Mean over pairs of Σ_c K[(x,c),(x̃,c)]. */
  readonly raw: number;
  /** Mean over pairs of Σ_c K[(x,c),(x̃,c)] / √(Σ_c K[(x,c),(x,c)] · Σ_c K[(x̃,c),(x̃,c)]). */
  readonly cosine: number;
}

/**
 * Returns M' from a kernel over 2P rows, of which the first P are the originals. kernel: (2P, C,
 * 2P, C).
 */
export function pairKernel(kernel: Float64Array, pairs: number, classes: number): PairKernel {
  const size = 2 * pairs * classes;
  const trace = (i: number, j: number): number => {
    let sum = 0;
    for (let c = 0; c < classes; c++) sum += kernel[(i * classes + c) * size + j * classes + c]!;
    return sum;
  };
  let raw = 0,
    cosine = 0;
  for (let i = 0; i < pairs; i++) {
    const between = trace(i, pairs + i);
    raw += between / pairs;
    cosine += between / Math.sqrt(trace(i, i) * trace(pairs + i, pairs + i)) / pairs;
  }
  return { raw, cosine };
}

/** M' from the full kernel, and from LoRA's where the model has factors. */
export async function pairKernels(
  model: AdaptedModel,
  originals: readonly TokenRow[],
  poisoned: readonly TokenRow[],
  options: KernelOptions = {},
): Promise<{ readonly full: PairKernel; readonly lora: PairKernel | null }> {
  if (originals.length !== poisoned.length)
    throw new RangeError(`${originals.length} rows cannot be paired with ${poisoned.length}`);
  const { full, lora, classes } = await kernels(model, [...originals, ...poisoned], options);
  const of = (kernel: Float64Array): PairKernel => pairKernel(kernel, originals.length, classes);
  return { full: of(full), lora: lora === null ? null : of(lora) };
}
