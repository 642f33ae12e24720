/**
 * Contraction through per-row gradients: G^c_i = Σ_t a^c_t b_tᵀ (p, q), then their Gram matrix. p is cut into slices, so
 * that neither memory nor the length of a float32 sum grows with the layer; slices are added in double precision.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor1D, Tensor2D, Tensor3D } from '@tensorflow/tfjs-core';
import { kernelIndex, type Contraction, type TermBlock } from './contraction.ts';

/** Bytes of one slice of gradients. Two to three such arrays live at once. */
const SLICE_BYTES = 64 * 2 ** 20;
/** A single float32 sum's length: keeps its rounding near 1e-6 even where a backend adds one after another. */
const SLICE_LENGTH = 32768;

/** How many of the p columns one slice takes. */
export function sliceWidth(p: number, q: number, gradients: number): number {
  return Math.max(1, Math.min(p, Math.floor(SLICE_BYTES / (4 * q * gradients)), Math.floor(SLICE_LENGTH / q)));
}

/** A block's tokens as a rectangle: index (R · T) of each row's tokens, S where it has no more. */
function rectangle({ example, rows }: TermBlock): { readonly index: Int32Array; readonly width: number } {
  const counts = new Int32Array(rows.length);
  example.forEach((k) => { counts[k]!++; });
  const width = counts.reduce((a, b) => Math.max(a, b), 1);
  const index = new Int32Array(rows.length * width).fill(example.length);
  counts.fill(0);
  example.forEach((k, t) => { index[k * width + counts[k]!++] = t; });
  return { index, width };
}

/** (S, k) → (R, T, k), zero where a row has no more tokens. */
function spread(x: Tensor2D, index: Tensor1D, rows: number): Tensor3D {
  const k = x.shape[1];
  return tf.reshape(tf.gather(tf.concat([x, tf.zeros([1, k])], 0), index), [rows, index.shape[0] / rows, k]) as Tensor3D;
}

export const explicit: Contraction = (blocks, coefficient, { rows, classes, data }) => {
  const size = rows * classes;
  const p = blocks[0]!.a[0]!.shape[1], q = blocks[0]!.b.shape[1];
  const step = sliceWidth(p, q, size);
  const index = Int32Array.from(blocks.flatMap((block) => [...kernelIndex(block, classes)])); // (N · C)
  tf.tidy(() => {
    const layouts = blocks.map((block) => tf.tensor1d(rectangle(block).index, 'int32')); // (R · T)
    const inputs = blocks.map((block, k) => spread(block.b, layouts[k]!, block.rows.length)); // (R, T, q)
    for (let start = 0; start < p; start += step) {
      const width = Math.min(step, p - start);
      const gram = tf.tidy(() => {
        const gradients = tf.concat(blocks.flatMap((block, k) => block.a.map((a) => {
          const slice = spread(tf.slice(a, [0, start], [-1, width]), layouts[k]!, block.rows.length); // (R, T, width)
          return tf.reshape(tf.matMul(slice, inputs[k]!, true, false), [block.rows.length, width * q]); // (R, width · q)
        })), 0) as Tensor2D; // (N · C, width · q)
        return tf.matMul(gradients, gradients, false, true); // (N · C, N · C)
      });
      const values = gram.dataSync<'float32'>();
      gram.dispose();
      for (let x = 0; x < size; x++) {
        const row = index[x]! * size;
        for (let y = 0; y < size; y++) data[row + index[y]!]! += coefficient * values[x * size + y]!;
      }
    }
  });
};
