/**
 * The kernel between two sets of rows, pair by pair: M' = E_(x,x̃) Σ_c K[(x,c),(x̃,c)], raw and as
 * a cosine (docs/theory.md, How far poison carries the weights). Of class logits it depends on
 * texts only: where only the label was poisoned, x̃ = x and every cosine is 1. Of log p(answer)
 * each row's output is that of its own answer, so it sees an answer that was poisoned.
 */
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../../src/api.ts';
import type { TokenBlock } from '../../../src/science/measures/ntk/accumulator.ts';
import {
  type LayerBatch,
  planPairs,
  type WalkOptions,
  walkSets,
} from '../../../src/science/measures/ntk/layerwise.ts';
import {
  fullTerms,
  hasKernel,
  hasOwn,
  type KernelKind,
  ownTerms,
  type Term,
  zeroTerms,
} from '../../../src/science/measures/ntk/terms.ts';
import type { AdaptedLayer, AdaptedModel, TokenRow } from '../../../src/science/models/types.ts';
import { matched } from './matched.ts';

export interface PairKernel {
  /** Mean over pairs of Σ_c K[(x,c),(x̃,c)]. */
  readonly raw: number;
  /** Mean over pairs of Σ_c K[(x,c),(x̃,c)] / √(Σ_c K[(x,c),(x,c)] · Σ_c K[(x̃,c),(x̃,c)]). */
  readonly cosine: number;
}

/** Traces over the outputs, for each of P pairs. */
export interface PairTraces {
  readonly between: Float64Array; // Σ_c K[(x,c),(x̃,c)], (P)
  readonly originals: Float64Array; // Σ_c K[(x,c),(x,c)], (P)
  readonly poisoned: Float64Array; // Σ_c K[(x̃,c),(x̃,c)], (P)
}

/** M' from the traces of P pairs. */
export function pairKernel({ between, originals, poisoned }: PairTraces): PairKernel {
  const pairs = between.length;
  let raw = 0,
    cosine = 0;
  between.forEach((value, i) => {
    raw += value / pairs;
    cosine += value / Math.sqrt(originals[i]! * poisoned[i]!) / pairs;
  });
  return { raw, cosine };
}

const isFinite = ({ between, originals, poisoned }: PairTraces): boolean =>
  [between, originals, poisoned].every((values) => values.every(Number.isFinite));

const emptyTraces = (pairs: number): PairTraces => ({
  between: new Float64Array(pairs),
  originals: new Float64Array(pairs),
  poisoned: new Float64Array(pairs),
});

/** Adds one kernel of one layer, over the batches of both sets, which hold the same pairs. */
function addLayer(
  kind: KernelKind,
  layer: AdaptedLayer,
  originals: readonly LayerBatch[],
  poisoned: readonly LayerBatch[],
  { between, originals: ofOriginals, poisoned: ofPoisoned }: PairTraces,
): void {
  const zero = kind === 'lora' ? zeroTerms(layer) : null;
  const termsOf = ({ tokens }: LayerBatch): readonly Term[] =>
    zero === null ? fullTerms(tokens) : ownTerms(layer, tokens, zero);
  const block = ({ rows, tokens: { example } }: LayerBatch, { a, b }: Term): TokenBlock => ({
    a,
    b,
    example,
    rows,
  });
  originals.forEach((x, k) => {
    tf.tidy(() => {
      const y = poisoned[k]!,
        ofY = termsOf(y);
      termsOf(x).forEach((term, i) => {
        const sums = matched(block(x, term), block(y, ofY[i]!));
        x.rows.forEach((pair, r) => {
          between[pair]! += term.coefficient * sums.between[r]!;
          ofOriginals[pair]! += term.coefficient * sums.left[r]!;
          ofPoisoned[pair]! += term.coefficient * sums.right[r]!;
        });
      });
    });
  });
}

/**
 * M' from the full kernel, and from the adapter's where it has parameters. Only the entries that M'
 * reads are computed. Throws RangeError where rows cannot be paired, UserFault where the kernel is
 * not finite.
 */
export async function pairKernels(
  model: AdaptedModel,
  originals: readonly TokenRow[],
  poisoned: readonly TokenRow[],
  options: WalkOptions = {},
): Promise<{ readonly full: PairKernel; readonly lora: PairKernel | null }> {
  if (originals.length !== poisoned.length)
    throw new RangeError(`${originals.length} rows cannot be paired with ${poisoned.length}`);
  const full = emptyTraces(originals.length),
    lora = model.layers.some(hasOwn) ? emptyTraces(originals.length) : null;
  await walkSets(
    model,
    [originals, poisoned],
    planPairs(model, originals, poisoned, options),
    0,
    {
      layer: (layer, [ofOriginals, ofPoisoned]) => {
        if (hasKernel('full', layer)) addLayer('full', layer, ofOriginals!, ofPoisoned!, full);
        if (lora !== null && hasOwn(layer))
          addLayer('lora', layer, ofOriginals!, ofPoisoned!, lora);
      },
    },
    options,
  );
  for (const traces of [full, ...(lora === null ? [] : [lora])])
    if (!isFinite(traces))
      throw new UserFault(
        'The kernel between the rows and their poisoned versions is not finite.',
        "The training diverged: look at the model's loss.",
      );
  return { full: pairKernel(full), lora: lora === null ? null : pairKernel(lora) };
}
