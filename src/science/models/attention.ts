/**
 * Multi-head self-attention over the real tokens of a batch, and rotary position embeddings. Hidden
 * states enter and leave as (S, h); only attention has the padded shape (B, H, T, d). Each of the
 * Hk heads of keys and values is shared by a group of G = H/Hk heads of queries (Ainslie et al.
 * 2023). With Tq queries in the longest row, a group's queries stand one head after the other, (B,
 * Hk, G·Tq, d), so that no key is copied.
 */
import type { Rank, Tensor, Tensor1D, Tensor2D, Tensor3D, Tensor4D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from '../../tensor/differentiable.ts';
import {
  type FusedAttention,
  fusedAttention,
  fusedAttentionGradient,
  fusedRotary,
  type FusedRows,
  hasFused,
} from '../../tensor/fused.ts';
import { scatterRows, takeRows } from '../../tensor/rows.ts';
import type { Rotary } from './families/description.ts';
import type { Padding } from './layout.ts';
import type { KeyValueBlock } from './types.ts';

interface AttentionShape {
  readonly batch: number;
  readonly heads: number;
  readonly kvHeads: number;
  /** The factor on the scores. Default: 1/√d. */
  readonly scale?: number;
  readonly queries: Padding;
  readonly keys: Padding;
  /** As `attentionMask` makes it for groups of G heads; null where every query sees every key. */
  readonly mask: Tensor4D | null;
}

// Splits the n features among the heads: (B·T, n) → (B, T, H, d) → (B, H, T, d)
const split = (x: Tensor2D, batch: number, width: number, heads: number): Tensor =>
  tf.transpose(tf.reshape(x, [batch, width, heads, x.shape[1] / heads]), [0, 2, 1, 3]);

// Puts tokens into the padded batch: (S, n) → (B, H, T, d), where H is Hk for keys and values.
// Padding holds a copy of a real token, which is finite; the mask hides it.
export const pad = (x: Tensor2D, { width, index }: Padding, batch: number, heads: number): Tensor =>
  split(index === null ? x : takeRows(x, index.padded), batch, width, heads);

// (S, n) → (B, H, T, d) with zeros at padding, for gradients, which are summed over all positions.
export const padZero = (
  x: Tensor2D,
  { width, index }: Padding,
  batch: number,
  heads: number,
): Tensor =>
  split(index === null ? x : scatterRows(x, index.places, batch * width), batch, width, heads);

// Undoes `pad` and `padZero`: takes the tokens out of the padded batch. (B, H, T, d) → (S, n)
export function unpad(x: Tensor, { width, index }: Padding, batch: number): Tensor2D {
  const inOrder = tf.transpose(x, [0, 2, 1, 3]); // (B, T, H, d)
  const positions = batch * width;
  const rows = tf.reshape<Rank.R2>(inOrder, [positions, inOrder.size / positions]); // (B·T, n)
  return index === null ? rows : takeRows(rows, index.places);
}

/**
 * Returns the two index tensors of a padding, which an operation saves for its gradient; none if no
 * row needs padding.
 */
export const indexesOf = ({ index }: Padding): Tensor1D[] =>
  index === null ? [] : [index.padded, index.places];

/**
 * Returns the padding with the saved tensors of `indexesOf` in place of its own; removes them from
 * the front of `saved`.
 */
export const restored = ({ width, index }: Padding, saved: Tensor[]): Padding => ({
  width,
  index:
    index === null
      ? null
      : { padded: saved.shift() as Tensor1D, places: saved.shift() as Tensor1D },
});

/**
 * `attention` over blocks of keys and values that are padded already, each (B, Hk, Tᵢ, d), without
 * a gradient. q: (Q, H·d) → (Q, H·d). With Pᵢ the columns of the softmax for block i,
 *
 *     softmax([Q K₁ᵀ, Q K₂ᵀ, …]·scale + mask) [V₁; V₂; …] = Σᵢ Pᵢ Vᵢ,   T = Σ Tᵢ
 */
export function cachedAttention(
  q: Tensor2D,
  blocks: readonly KeyValueBlock[],
  { batch, heads, kvHeads, queries, mask, ...more }: Omit<AttentionShape, 'keys'>,
): Tensor2D {
  const d = q.shape[1] / heads,
    rows = (heads / kvHeads) * queries.width; // G·Tq
  const scaled = tf.mul(pad(q, queries, batch, heads), more.scale ?? 1 / Math.sqrt(d)),
    Q = tf.reshape(scaled, [batch, kvHeads, rows, d]);
  const scores = blocks.map(({ keys }) => tf.matMul(Q, keys, false, true)); // (B, Hk, G·Tq, Tᵢ)
  const all = tf.concat(scores, 3),
    weights = tf.softmax(mask === null ? all : tf.add(all, mask)); // (B, Hk, G·Tq, T)
  const widths = scores.map(({ shape }) => shape[3]!),
    parts = scores.length === 1 ? [weights] : tf.split(weights, widths, 3);
  const mixed = blocks
    .map(({ values }, i) => tf.matMul(parts[i]!, values))
    .reduce((sum, part) => tf.add(sum, part)); // (B, Hk, G·Tq, d)
  return unpad(tf.reshape(mixed, [batch, heads, queries.width, d]), queries, batch);
}

/**
 * `attention` by one fused operation, without padding, bias or dropout. q: (Q, H·d); k, v: (S,
 * Hk·d) → (Q, H·d).
 */
export function attentionOfRows(
  q: Tensor2D,
  k: Tensor2D,
  v: Tensor2D,
  rows: FusedRows,
  shape: FusedAttention,
): Tensor2D {
  return differentiable([q, k, v], {
    forward: () => ({
      value: fusedAttention([q, k, v], rows, shape),
      saved: [q, k, v, rows.queries, rows.keys, rows.places],
    }),
    backward: (dy, [Q, K, V, queries, keys, places]) =>
      fusedAttentionGradient(dy, [Q, K, V], { queries, keys, places }, shape),
  });
}

/**
 * O = P̃V for each head, with P = softmax(QKᵀ·scale + mask + bias) and P̃ = keep·P. q: (Q, H·d),
 * for the Q tokens that have a query; k, v: (S, Hk·d) → (Q, H·d).
 *
 *     dV = P̃ᵀdO;  dP = keep·(dO Vᵀ);  dS = P·(dP − Σ_T dP·P);  dQ = scale·dS K;  dK = scale·dSᵀQ
 *
 * @param bias added to the scores, (B, H, Tq, T); only where G is 1
 * @param keep dropout's mask on the attention weights, (B, H, Tq, T), already divided by 1 − rate;
 *   default: 1
 */
export function attention(
  q: Tensor2D,
  k: Tensor2D,
  v: Tensor2D,
  shape: AttentionShape,
  { bias, keep }: { bias?: Tensor4D | undefined; keep?: Tensor | undefined } = {},
): Tensor2D {
  const { batch, heads, kvHeads, queries, keys, mask } = shape;
  const groupSize = heads / kvHeads, // G
    d = q.shape[1] / heads,
    Tq = queries.width;
  if (bias !== undefined && groupSize !== 1) throw new Error('grouped heads take no bias here');
  const scale = shape.scale ?? 1 / Math.sqrt(d);
  // (B, H, Tq, n) → (B, Hk, G·Tq, n). `ungrouped` goes back. Both keep the order in memory.
  const grouped = (x: Tensor): Tensor =>
    groupSize === 1
      ? x
      : tf.reshape(x, [batch, kvHeads, groupSize * Tq, x.size / (batch * heads * Tq)]);
  const ungrouped = (x: Tensor): Tensor =>
    groupSize === 1 ? x : tf.reshape(x, [batch, heads, Tq, x.size / (batch * heads * Tq)]);
  const kept = keep === undefined ? undefined : grouped(keep);
  return differentiable([q, k, v, bias ?? null], {
    forward: () => {
      const Q = tf.mul(grouped(pad(q, queries, batch, heads)), scale),
        K = pad(k, keys, batch, kvHeads),
        V = pad(v, keys, batch, kvHeads); // (B, Hk, T, d)
      const products = tf.matMul(Q, K, false, true); // (B, Hk, G·Tq, T)
      const biased = bias === undefined ? products : tf.add(products, bias);
      const P = tf.softmax(mask === null ? biased : tf.add(biased, mask));
      // The backward pass needs the indexes, which are freed after the forward pass unless saved.
      const indexes = [queries, keys].flatMap(indexesOf);
      const weights = kept === undefined ? P : tf.mul(P, kept); // P̃
      return {
        value: unpad(ungrouped(tf.matMul(weights, V)), queries, batch), // (Q, H·d)
        saved: [Q, K, V, P, ...indexes, ...(kept === undefined ? [] : [kept])],
      };
    },
    backward: (dy, [Q, K, V, P, ...rest], needs) => {
      const querySide = restored(queries, rest),
        keySide = restored(keys, rest),
        keeping = rest[0];
      const dO = grouped(padZero(dy, querySide, batch, heads)); // (B, Hk, G·Tq, d)
      const dV = needs[2]
        ? unpad(
            tf.matMul(keeping === undefined ? P : tf.mul(P, keeping), dO, true, false),
            keySide,
            batch,
          )
        : null; // (S, Hk·d)
      if (!needs[0] && !needs[1] && !needs[3]) return [null, null, dV];
      const product = tf.matMul(dO, V, false, true); // (B, Hk, G·Tq, T)
      const weighted = tf.mul(keeping === undefined ? product : tf.mul(product, keeping), P);
      const dS = tf.sub(weighted, tf.mul(P, tf.sum(weighted, -1, true)));
      return [
        // (Q, H·d)
        needs[0] ? unpad(ungrouped(tf.mul(tf.matMul(dS, K), scale)), querySide, batch) : null,
        // Q was multiplied by the scale already.
        needs[1] ? unpad(tf.matMul(dS, Q, true, false), keySide, batch) : null, // (S, Hk·d)
        dV,
        needs[3] ? dS : null,
      ];
    },
  });
}

/**
 * Cosine and sine of each token's rotary angles (Su et al. 2021, as rotate_half), both times
 * `Rotary.factor`, (S, 1, r/2): an angle for each pair of the r features that are rotated.
 */
export interface Angles {
  readonly cos: Tensor3D;
  readonly sin: Tensor3D;
}

/** Returns the angles of tokens at `places`, (S). The tensors belong to the enclosing tf.tidy. */
export function computeAngles({ frequencies, factor = 1 }: Rotary, places: Int32Array): Angles {
  const half = frequencies.length,
    cos = new Float32Array(places.length * half),
    sin = new Float32Array(places.length * half);
  places.forEach((place, s) => {
    frequencies.forEach((frequency, i) => {
      // transformers computes the angle in float32.
      const angle = Math.fround(place * Math.fround(frequency));
      cos[s * half + i] = Math.cos(angle) * factor;
      sin[s * half + i] = Math.sin(angle) * factor;
    });
  });
  const shape: [number, number, number] = [places.length, 1, half];
  return { cos: tf.tensor3d(cos, shape), sin: tf.tensor3d(sin, shape) };
}

/**
 * Rotates the first r features of each head by the angles, backwards if `by` is −1. The other
 * features stay.
 */
function rotateHeads(x: Tensor2D, heads: number, cos: Tensor, sin: Tensor, by: 1 | -1): Tensor2D {
  if (hasFused()) return fusedRotary(x, cos, sin, heads, by === -1);
  const [S, n] = x.shape,
    d = n / heads,
    half = cos.shape[2]!;
  const inHeads = tf.reshape(x, [S, heads, d]);
  const first = tf.slice(inHeads, [0, 0, 0], [S, heads, half]),
    second = tf.slice(inHeads, [0, 0, half], [S, heads, half]);
  const a = tf.mul(first, cos),
    b = tf.mul(second, sin),
    c = tf.mul(second, cos),
    e = tf.mul(first, sin);
  const parts = by === 1 ? [tf.sub(a, b), tf.add(c, e)] : [tf.add(a, b), tf.sub(c, e)];
  if (2 * half < d) parts.push(tf.slice(inHeads, [0, 0, 2 * half], [S, heads, d - 2 * half]));
  return tf.reshape(tf.concat(parts, 2), [S, n]);
}

/**
 * Rotates each pair of features of a head, x₁ at i and x₂ at i + r/2, by the angle of frequency i:
 * (x₁ cos − x₂ sin, x₂ cos + x₁ sin). x: (S, H·d) → (S, H·d). The gradient is rotated back.
 */
export function rotate(x: Tensor2D, heads: number, { cos, sin }: Angles): Tensor2D {
  return differentiable([x], {
    forward: () => ({ value: rotateHeads(x, heads, cos, sin, 1), saved: [cos, sin] }),
    backward: (dy, [c, s]) => [rotateHeads(dy, heads, c, s, -1)],
  });
}
