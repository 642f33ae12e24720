/**
 * K_LoRA of one model where training starts (B = 0), for every rank at once. A at a lower rank is
 * the first rows of A at a higher rank, so that
 *
 *     K_r = s²σ² Σ_{q ≤ r} Σ_{t,u} (δ_t·δ'_u)(a_q·h_t)(a_q·h'_u),
 *
 * where a_q is row q of A at variance 1, and t and u are tokens of the two texts. So each rank adds
 * the terms of its further rows of A to the kernel of the rank below. As s²σ² is a common factor,
 * one kernel per rank serves every scale.
 */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import {
  emptyKernel,
  type KernelSum,
  symmetrise,
} from '../../../src/science/measures/ntk/accumulator.ts';
import type { KernelModel } from '../../../src/science/measures/ntk/kernels.ts';
import {
  addTerm,
  walkLayers,
  type WalkOptions,
} from '../../../src/science/measures/ntk/layerwise.ts';
import { fullTerms } from '../../../src/science/measures/ntk/terms.ts';
import type { AdaptedModel, OutputsOf, TokenRow } from '../../../src/science/models/types.ts';
import type { LayerKernels, LayerPart, TorchKernels } from '../../../src/science/torch/kernels.ts';
import { drawA } from '../../adapters/lora/init.ts';
import type { Shape } from './map.ts';

export interface RankKernels {
  readonly outputs: OutputsOf;
  readonly logits: Float32Array; // (N, C)
  /** K_ff, over the weights of the same layers. */
  readonly full: Float64Array; // (N, C, N, C)
  /**
   * K_LoRA by distribution, one kernel for each rank, in the order of `ranks`, at s = 1 and σ² =
   * 1/d with d each layer's fan-in.
   */
  readonly lora: ReadonlyMap<Shape, readonly Float64Array[]>; // (N, C, N, C)
}

/**
 * Computes K_ff, and K_LoRA for each distribution and rank.
 * @param model the base at its start, without LoRA factors
 * @param ranks ascending, none above a layer's fan-in (RangeError)
 * @param seed the seed of A's draws; a LoRA run of this seed starts from the same A
 */
export async function rankKernels(
  model: AdaptedModel,
  rows: readonly TokenRow[],
  shapes: readonly Shape[],
  ranks: readonly number[],
  seed: number,
  options: WalkOptions = {},
): Promise<RankKernels> {
  const { most, full, bands, finish } = createSums(model, rows, shapes, ranks);
  const logits = await walkLayers(model, rows, options, (layer, seen) => {
    tf.tidy(() => {
      const terms = seen.map(({ tokens }) => fullTerms(tokens)[0]!);
      addTerm(seen, terms, [full]);
      for (const [shape, sums] of bands) {
        const { data } = drawA(layer.name, layer.in, most, shape, 1 / layer.in, seed);
        const A = tf.tensor2d(data as Float32Array, [most, layer.in]);
        sums.forEach((sum, k) =>
          tf.tidy(() => {
            const first = k === 0 ? 0 : ranks[k - 1]!;
            // (r_k − r_{k−1}, d)
            const band = tf.slice(A, [first, 0], [ranks[k]! - first, layer.in]);
            const ofBand = seen.map(({ tokens: { h, deltas } }) => {
              const b = tf.matMul<Tensor2D>(h, band, false, true);
              return { a: deltas, b, coefficient: 1 };
            });
            addTerm(seen, ofBand, [sum]);
          }),
        );
      }
    });
  });
  return finish(logits);
}

/**
 * Returns empty kernels: `full` and, in `bands`, one for each distribution and rank, to which only
 * the terms are added that a rank has and the rank below lacks. `finish` returns the whole kernels.
 * `most` is the largest rank. Throws a RangeError if a layer's fan-in is smaller.
 */
function createSums(
  model: Pick<KernelModel, 'outputs' | 'outputsOf' | 'layers'>,
  rows: readonly TokenRow[],
  shapes: readonly Shape[],
  ranks: readonly number[],
) {
  const most = ranks.at(-1) ?? 0;
  const narrow = model.layers.find((layer) => layer.in < most);
  if (narrow !== undefined)
    throw new RangeError(`rank ${most} is above the fan-in ${narrow.in} of ${narrow.name}`);
  const size = rows.length * model.outputs;
  const empty = (): KernelSum => emptyKernel(rows.length, model.outputs);
  const full = empty(),
    bands = new Map(shapes.map((shape) => [shape, ranks.map(empty)]));
  return {
    most,
    full,
    bands,
    finish: (logits: Float32Array): RankKernels => {
      symmetrise(full.data, size);
      for (const sums of bands.values())
        for (const [k, { data }] of sums.entries()) {
          symmetrise(data, size);
          const below = sums[k - 1]?.data; // the kernel of the rank below
          if (below !== undefined) for (let x = 0; x < data.length; x++) data[x]! += below[x]!;
        }
      return {
        outputs: model.outputsOf,
        logits,
        full: full.data,
        lora: new Map([...bands].map(([shape, sums]) => [shape, sums.map(({ data }) => data)])),
      };
    },
  };
}

/** Returns what `rankKernels` returns, from kernels that PyTorch's process computes. */
export async function torchRankKernels(
  model: TorchKernels,
  rows: readonly TokenRow[],
  shapes: readonly Shape[],
  ranks: readonly number[],
  seed: number,
  options: Pick<LayerKernels, 'progress' | 'signal'> = {},
): Promise<RankKernels> {
  const { most, full, bands, finish } = createSums(model, rows, shapes, ranks);
  const logits = await model.layerKernels(rows, {
    ...options,
    layers: model.layers,
    parts: ({ name, in: n }) => [
      { over: 'W' },
      ...shapes.flatMap((shape) => {
        const { data: A } = drawA(name, n, most, shape, 1 / n, seed);
        return ranks.map((rank, k): LayerPart => {
          const first = k === 0 ? 0 : ranks[k - 1]!,
            width = rank - first;
          // The rows of A, (most, n), that this rank adds, transposed: (n, width).
          const data = Float32Array.from(
            { length: n * width },
            (_, at) => A[(first + (at % width)) * n + Math.floor(at / width)]!,
          );
          return { over: 'W', F: { shape: [n, width], data } };
        });
      }),
    ],
    visit: (_layer, kernels) => {
      const sums = [full, ...[...bands.values()].flat()]; // in the order of `parts`
      for (const [k, { data }] of sums.entries())
        for (let x = 0; x < data.length; x++) data[x]! += kernels[k]![x]!;
    },
  });
  return finish(logits);
}
