/** Computes M′: the kernel at the start of training between poisoned rows and their originals. */
import type { Tensor1D, Tensor3D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { type RunContext, UserFault } from '../../../src/api.ts';
import { at } from '../../../src/base/lookup.ts';
import type { Receipt } from '../../../src/poisoning/receipt.ts';
import type { TokenBlock } from '../../../src/science/measures/ntk/accumulator.ts';
import { paddedLayout, padTokens } from '../../../src/science/measures/ntk/explicit.ts';
import type { KernelModel } from '../../../src/science/measures/ntk/kernels.ts';
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
import type {
  AdaptedLayer,
  AdaptedModel,
  OutputsOf,
  TokenRow,
} from '../../../src/science/models/types.ts';
import {
  type AdaptedModelOptions,
  openRowEncoder,
} from '../../../src/science/training/adapted-model.ts';
import { compiled } from '../../../src/tensor/compiled/compiled.ts';
import { inputDir, readJson } from '../shared/files.ts';
import { openForKernels } from '../shared/trained-model.ts';
import type { Params } from './index.ts';
export interface Between extends PairKernels {
  readonly outputs: OutputsOf;
  readonly pairs: number;
  /**
   * The number of pairs that the model reads alike: their rows differ only in a label, or in text
   * beyond max_length.
   */
  readonly alike: number;
}

/**
 * Returns M′ at `start`, the last model that the runs share. Null if there is no pair, since the
 * attack changes no row.
 */
export async function kernelsBetween(
  context: RunContext<Params>,
  start: AdaptedModelOptions,
): Promise<Between | null> {
  const { pairs, max_length: maxLength } = context.params;
  const receipt = (await readJson(inputDir(context, 'poison'), 'receipt.json')) as Receipt;
  const rows = receipt.rows.slice(0, pairs);
  if (rows.length === 0) return null;
  const encode = await openRowEncoder(start.trainDir, start.model);
  const originals = rows.map(({ original }) => encode(original, maxLength));
  const poisoned = rows.map(({ new: changed }) => encode(changed, maxLength));
  const alike = originals.filter(
    ({ ids, answer }, i) =>
      answer === poisoned[i]?.answer && ids.join() === poisoned[i]?.ids.join(),
  );
  const model = await openForKernels(context, start);
  try {
    const asked = [originals, poisoned, { signal: context.signal }] as const;
    const kernels = await ('kernels' in model
      ? torchPairKernels(model, ...asked)
      : pairKernels(model, ...asked));
    return { outputs: model.outputsOf, pairs: rows.length, alike: alike.length, ...kernels };
  } finally {
    model.dispose();
  }
}

/**
 * The kernel between two sets of rows, pair by pair: M' = E_(x,x̃) Σ_c K[(x,c),(x̃,c)], for a row
 * x, its poisoned version x̃ and the outputs c; raw and as a cosine (docs/theory.md, How far poison
 * carries the weights). For class logits, M' depends on texts only: if only the label was poisoned,
 * x̃ = x and every cosine is 1. For log p(answer), M' also depends on a poisoned answer, because
 * the output of each row is log p of its own answer.
 */
export interface PairKernel {
  /** Mean over pairs of Σ_c K[(x,c),(x̃,c)]. */
  readonly raw: number;
  /** Mean over pairs of Σ_c K[(x,c),(x̃,c)] / √(Σ_c K[(x,c),(x,c)] · Σ_c K[(x̃,c),(x̃,c)]). */
  readonly cosine: number;
}

interface PairKernels {
  readonly full: PairKernel;
  readonly lora: PairKernel | null;
}

/** Traces over the outputs, for each of P pairs. */
interface PairTraces {
  readonly between: Float64Array; // Σ_c K[(x,c),(x̃,c)], (P)
  readonly originals: Float64Array; // Σ_c K[(x,c),(x,c)], (P)
  readonly poisoned: Float64Array; // Σ_c K[(x̃,c),(x̃,c)], (P)
}

/** Returns M' from the traces of P pairs. */
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

const emptyTraces = (pairs: number): PairTraces => {
  const zeros = () => new Float64Array(pairs);
  return { between: zeros(), originals: zeros(), poisoned: zeros() };
};

/**
 * Adds a layer's part of one kernel to the traces. The k-th batch of the originals and the k-th
 * batch of the poisoned rows hold the same pairs.
 */
function addLayer(
  kind: KernelKind,
  layer: AdaptedLayer,
  originals: readonly LayerBatch[],
  poisoned: readonly LayerBatch[],
  traces: PairTraces,
): void {
  const zero = kind === 'lora' ? zeroTerms(layer) : null;
  const termsOf = ({ tokens }: LayerBatch): readonly Term[] =>
    zero === null ? fullTerms(tokens) : ownTerms(layer, tokens, zero);
  const block = ({ rows, tokens: { example } }: LayerBatch, { a, b }: Term): TokenBlock => {
    return { a, b, example, rows };
  };
  originals.forEach((x, k) => {
    tf.tidy(() => {
      const y = poisoned[k]!,
        ofY = termsOf(y);
      termsOf(x).forEach((term, i) => {
        const sums = matchedSums(block(x, term), block(y, ofY[i]!));
        [traces.between, traces.originals, traces.poisoned].forEach((trace, which) => {
          x.rows.forEach((pair, r) => (trace[pair]! += term.coefficient * at(sums, which)[r]!));
        });
      });
    });
  });
}

/**
 * Returns M' of the full kernel and of the adapter's kernel; `lora` is null if the adapter has no
 * parameters of its own.
 */
export async function pairKernels(
  model: AdaptedModel,
  originals: readonly TokenRow[],
  poisoned: readonly TokenRow[],
  options: WalkOptions = {},
): Promise<PairKernels> {
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
  return finiteKernels(full, lora);
}

/** Returns M' of the kernels with these traces. Throws `UserFault` if a trace is not finite. */
function finiteKernels(full: PairTraces, lora: PairTraces | null): PairKernels {
  for (const traces of lora === null ? [full] : [full, lora])
    if (!Object.values(traces).every((values: Float64Array) => values.every(Number.isFinite)))
      throw new UserFault(
        'The kernel between the rows and their poisoned versions is not finite.',
        "The training diverged: look at the model's loss.",
      );
  return { full: pairKernel(full), lora: lora && pairKernel(lora) };
}

/**
 * Returns what `pairKernels` returns, from the kernel between all 2P rows, which PyTorch's process
 * computes whole.
 */
async function torchPairKernels(
  model: KernelModel,
  originals: readonly TokenRow[],
  poisoned: readonly TokenRow[],
  options: WalkOptions,
): Promise<PairKernels> {
  const which = model.layers.some(hasOwn) ? (['full', 'lora'] as const) : (['full'] as const);
  const { full, lora } = await model.kernels([...originals, ...poisoned], { ...options, which });
  const P = originals.length,
    C = model.outputs;
  /** Returns the traces of a kernel (2P, C, 2P, C). Row P + i is the poisoned version of row i. */
  const computeTraces = ({ data }: { readonly data: Float64Array }): PairTraces => {
    // Σ_c K[(i,c),(j,c)], K: (2P, C, 2P, C)
    const traceBetween = (i: number, j: number): number =>
      Array.from({ length: C }, (_, c) => data[(i * C + c) * 2 * P * C + j * C + c]!).reduce(
        (sum, value) => sum + value,
      );
    const pairs = Float64Array.from({ length: P }, (_, i) => i);
    return {
      between: pairs.map((i) => traceBetween(i, P + i)),
      originals: pairs.map((i) => traceBetween(i, i)),
      poisoned: pairs.map((i) => traceBetween(P + i, P + i)),
    };
  };
  return finiteKernels(computeTraces(full!), lora && computeTraces(lora));
}

// Below, a kernel's entries are computed only between matched rows: row i of one set with row i of
// the other set, and each row with itself. A kernel over both sets would have the entries between
// any two of all 2P rows.

/**
 * A block's tokens, row by row and padded with zeros: R rows of T tokens, C outputs, and vectors of
 * the widths p and q.
 */
interface Rectangles {
  readonly a: readonly Tensor3D[]; // C × (R, T, p)
  readonly b: Tensor3D; // (R, T, q)
}

function padBlock(block: TokenBlock): Rectangles {
  const index = paddedLayout(block),
    rows = block.rows.length;
  const layout = index === null ? null : tf.tensor1d(index, 'int32');
  return {
    a: block.a.map((a) => padTokens(a, layout, rows)),
    b: padTokens(block.b, layout, rows),
  };
}

const sumByRow = (x: Tensor3D): Tensor1D => tf.sum(x, [1, 2]);

/**
 * Returns Σ_c Σ_{t,u} (a^c_t · a'^c_u)(b_t · b'_u) of each row pair, (R), from all pairs of their
 * tokens. a and b are those of x, a' and b' those of y.
 */
function sumsOverTokenPairs(x: Rectangles, y: Rectangles): Tensor1D {
  const similarity = tf.matMul(x.b, y.b, false, true); // (R, T, T')
  return tf.addN(
    x.a.map((a, c) => sumByRow(tf.mul<Tensor3D>(tf.matMul(a, y.a[c]!, false, true), similarity))),
  );
}

/**
 * Returns ⟨G, H⟩, ⟨G, G⟩ and ⟨H, H⟩ of each row pair, summed over the outputs c, (R) each. The
 * gradients of x are G^c = Σ_t a^c_t b_tᵀ, those of y, likewise, H^c.
 */
function sumsOverGradients(x: Rectangles, y: Rectangles): [Tensor1D, Tensor1D, Tensor1D] {
  const gradients = ({ a, b }: Rectangles): Tensor3D[] =>
    a.map((one) => tf.matMul(one, b, true, false)); // C × (R, p, q)
  const G = gradients(x),
    H = gradients(y);
  /** Returns the inner products of two sets of gradients, summed over the outputs, (R). */
  const inner = (one: readonly Tensor3D[], other: readonly Tensor3D[]): Tensor1D =>
    tf.addN(one.map((g, c) => sumByRow(tf.mul<Tensor3D>(g, other[c]!))));
  return [inner(G, H), inner(G, G), inner(H, H)];
}

/**
 * Whether three calls of `sumsOverTokenPairs` take fewer operations than `sumsOverGradients`: for a
 * row of T tokens, C outputs, and a and b of widths p and q, 3·2T²(q + Cp) against 2·2TCpq.
 */
export const pairsAreCheaper = (T: number, C: number, p: number, q: number): boolean =>
  3 * T * (q + C * p) < 2 * C * p * q;

/**
 * Returns a term's sums for each row pair, (R) each: of left with right, left with itself, and
 * right with itself.
 */
const matchedSums = (left: TokenBlock, right: TokenBlock): Float32Array[] =>
  compiled(() =>
    tf.tidy(() => {
      const x = padBlock(left),
        y = padBlock(right);
      const tokens = Math.max(x.b.shape[1], y.b.shape[1]);
      const sums = pairsAreCheaper(tokens, x.a.length, at(x.a, 0).shape[2], x.b.shape[2])
        ? [sumsOverTokenPairs(x, y), sumsOverTokenPairs(x, x), sumsOverTokenPairs(y, y)]
        : sumsOverGradients(x, y);
      return sums.map((sum) => sum.dataSync<'float32'>().slice());
    }),
  );
