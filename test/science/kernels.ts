/** The kernels of rows with themselves, as most tests compare them. */
import { type KernelOptions, kernelSet } from '../../src/science/measures/ntk/kernels.ts';
import type { AdaptedModel, TokenRow } from '../../src/science/models/types.ts';

/** K_ff and, where a layer has LoRA factors, K_LoRA of N rows, (N, C, N, C) each. */
export async function kernels(
  model: AdaptedModel,
  rows: readonly TokenRow[],
  options: Omit<KernelOptions, 'which' | 'perLayer'> = {},
) {
  const { full, lora, ...found } = await kernelSet(model, rows, options);
  if (full === null) throw new Error('there is no kernel of the full weights');
  return {
    rows: found.rows,
    classes: found.classes,
    logits: found.logits,
    full: full.data,
    lora: lora?.data ?? null,
    layers: found.layers,
  };
}

export type Kernels = Awaited<ReturnType<typeof kernels>>;
