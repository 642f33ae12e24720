/**
 * Multi-head self-attention over real tokens. Hidden states come and go as (S, h); the padded shape (B, H, T, d), with
 * d = h/H, exists in here alone.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor, Tensor1D, Tensor2D, Tensor4D } from '@tensorflow/tfjs-core';
import { differentiable } from '../tensor/differentiable.ts';
import { scatterRows } from '../tensor/rows.ts';

/** Where the heads of tokens stand in the padded shape. */
export interface Side {
  /** Tokens a row, padded. */
  readonly width: number;
  /** Whether any row is padded. */
  readonly ragged: boolean;
  /** (B·H·T): for each padded place the row of the (S·H, d) view; of a padding place, row 0. */
  readonly padded: Tensor1D;
  /** (S·H): for each row of the (S·H, d) view its padded place. */
  readonly places: Tensor1D;
}

export interface AttentionLayout {
  readonly batch: number;
  readonly heads: number;
  readonly keys: Side;
  /** 0 at real keys, −1e9 at padding; null where no row is padded. (B, 1, 1, T) */
  readonly mask: Tensor4D | null;
}

function side(lengths: readonly number[], heads: number): Side {
  const batch = lengths.length, width = Math.max(...lengths), total = lengths.reduce((a, b) => a + b, 0);
  const padded = new Int32Array(batch * heads * width), places = new Int32Array(total * heads);
  let start = 0;
  lengths.forEach((length, b) => {
    for (let head = 0; head < heads; head++) {
      for (let t = 0; t < length; t++) {
        const place = (b * heads + head) * width + t, row = (start + t) * heads + head;
        padded[place] = row;
        places[row] = place;
      }
    }
    start += length;
  });
  return { width, ragged: total < batch * width, padded: tf.tensor1d(padded, 'int32'), places: tf.tensor1d(places, 'int32') };
}

/** The layout of a batch whose rows have these lengths; its tensors belong to the tidy scope around. */
export function attentionLayout(lengths: readonly number[], heads: number): AttentionLayout {
  const keys = side(lengths, heads);
  let mask: Tensor4D | null = null;
  if (keys.ragged) {
    const values = new Float32Array(lengths.length * keys.width);
    lengths.forEach((length, b) => values.fill(-1e9, b * keys.width + length, (b + 1) * keys.width));
    mask = tf.tensor4d(values, [lengths.length, 1, 1, keys.width]);
  }
  return { batch: lengths.length, heads, keys, mask };
}

/** One query a row of the batch (the token the head reads), against all of the row's keys. */
export function singleQuery(layout: AttentionLayout): Side {
  return side(new Array<number>(layout.batch).fill(1), layout.heads);
}

// (S, h) → (S·H, d) → (B, H, T, d); places of padding hold some real row: finite, and masked.
function pad(x: Tensor, { width, padded }: Side, { batch, heads }: AttentionLayout): Tensor {
  const d = x.shape[1]! / heads;
  return tf.reshape(tf.gather(tf.reshape(x, [-1, d]), padded), [batch, heads, width, d]);
}

// The same with zeros at padding: for gradients, which sums run over.
function padZero(x: Tensor, queries: Side, layout: AttentionLayout): Tensor {
  if (!queries.ragged) return pad(x, queries, layout);
  const { width, places } = queries, { batch, heads } = layout;
  const d = x.shape[1]! / heads;
  return tf.reshape(scatterRows(tf.reshape(x, [-1, d]) as Tensor2D, places, batch * heads * width), [batch, heads, width, d]);
}

// (B, H, T, d) → (S·H, d) → (S, h)
function unpad(x: Tensor, { places }: Side, heads: number): Tensor {
  const d = x.shape[3]!;
  return tf.reshape(tf.gather(tf.reshape(x, [-1, d]), places), [-1, heads * d]);
}

/**
 * softmax(QKᵀ/√d + mask)·V, head by head. q: (Q, h) with Q = S, or B for one query a row; k, v: (S, h) → (Q, h).
 * keep: dropout's mask on the attention weights, (B, H, Tq, T), already divided by 1 − rate.
 *
 *     dV = P̃ᵀdO;  dP = keep·(dO Vᵀ);  dS = P·(dP − Σ_T dP·P);  dQ = dS K/√d;  dK = dSᵀQ/√d
 */
export function attention(q: Tensor2D, k: Tensor2D, v: Tensor2D, layout: AttentionLayout, queries: Side = layout.keys, keep?: Tensor): Tensor2D {
  const { heads, keys, mask } = layout;
  const scale = 1 / Math.sqrt(q.shape[1] / heads);
  return differentiable([q, k, v], {
    forward: (save) => {
      const Q = tf.mul(pad(q, queries, layout), scale), K = pad(k, keys, layout), V = pad(v, keys, layout); // (B, H, T, d)
      const scores = tf.matMul(Q, K, false, true); // (B, H, Tq, T)
      const P = tf.softmax(mask === null ? scores : tf.add(scores, mask));
      // The indexes too: they live in the forward pass's scope.
      save(Q, K, V, P, queries.padded, queries.places, keys.padded, keys.places, ...(keep === undefined ? [] : [keep]));
      return unpad(tf.matMul(keep === undefined ? P : tf.mul(P, keep), V), queries, heads); // (Q, h)
    },
    backward: (dy, [Q, K, V, P, queryPadded, queryPlaces, keyPadded, keyPlaces, kept], needs) => {
      const querySide = { ...queries, padded: queryPadded as Tensor1D, places: queryPlaces as Tensor1D };
      const keySide = { ...keys, padded: keyPadded as Tensor1D, places: keyPlaces as Tensor1D };
      const dO = padZero(dy, querySide, layout); // (B, H, Tq, d)
      const dV = needs[2] ? unpad(tf.matMul(kept === undefined ? P! : tf.mul(P!, kept), dO, true, false), keySide, heads) : null; // (S, h)
      if (!needs[0] && !needs[1]) return [null, null, dV];
      const product = tf.matMul(dO, V!, false, true); // (B, H, Tq, T)
      const weighted = tf.mul(kept === undefined ? product : tf.mul(product, kept), P!);
      const dS = tf.sub(weighted, tf.mul(P!, tf.sum(weighted, -1, true)));
      return [
        needs[0] ? unpad(tf.mul(tf.matMul(dS, K!), scale), querySide, heads) : null, // (Q, h)
        needs[1] ? unpad(tf.matMul(dS, Q!, true, false), keySide, heads) : null, // (S, h); Q holds the scale
        dV,
      ];
    },
  }) as Tensor2D;
}
