/**
 * Multi-head self-attention over the real tokens of a batch. Hidden states enter and leave as (S,
 * h); the padded shape (B, H, T, d), with d = h/H, exists only in this file.
 */
import type { Rank, Tensor, Tensor1D, Tensor2D, Tensor4D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from '../tensor/differentiable.ts';
import { scatterRows, takeRows } from '../tensor/rows.ts';

/** The mapping between tokens (S) and positions in the padded batch (B, T). */
export interface Side {
  /** T, the number of positions in a row. */
  readonly width: number;
  /** Null where no row needs padding, so that (S) and (B·T) are the same order. */
  readonly index: {
    /** (B·T): the token at each padded position; token 0 where there is padding. */
    readonly padded: Tensor1D;
    /** (S): the padded position of each token. */
    readonly places: Tensor1D;
  } | null;
}

export interface AttentionLayout {
  readonly batch: number;
  readonly heads: number;
  readonly keys: Side;
  /** 0 at real keys, −1e9 at padding; null where no row needs padding. (B, 1, 1, T) */
  readonly mask: Tensor4D | null;
}

function side(lengths: readonly number[]): Side {
  const batch = lengths.length,
    width = Math.max(...lengths),
    total = lengths.reduce((a, b) => a + b, 0);
  if (total === batch * width) return { width, index: null };
  const padded = new Int32Array(batch * width),
    places = new Int32Array(total);
  let token = 0;
  lengths.forEach((length, b) => {
    for (let t = 0; t < length; t++, token++) {
      padded[b * width + t] = token;
      places[token] = b * width + t;
    }
  });
  return {
    width,
    index: { padded: tf.tensor1d(padded, 'int32'), places: tf.tensor1d(places, 'int32') },
  };
}

/**
 * The layout of a batch whose rows have these lengths. Its tensors belong to the enclosing tf.tidy.
 */
export function attentionLayout(lengths: readonly number[], heads: number): AttentionLayout {
  const keys = side(lengths);
  let mask: Tensor4D | null = null;
  if (keys.index !== null) {
    const values = new Float32Array(lengths.length * keys.width);
    lengths.forEach((length, b) =>
      values.fill(-1e9, b * keys.width + length, (b + 1) * keys.width),
    );
    mask = tf.tensor4d(values, [lengths.length, 1, 1, keys.width]);
  }
  return { batch: lengths.length, heads, keys, mask };
}

/**
 * One query for each row of the batch (the token that the head reads), against all keys of its row.
 */
export function singleQuery(layout: AttentionLayout): Side {
  return side(new Array<number>(layout.batch).fill(1));
}

// (B·T, h) → (B, T, H, d) → (B, H, T, d)
const split = (x: Tensor2D, width: number, { batch, heads }: AttentionLayout): Tensor =>
  tf.transpose(tf.reshape(x, [batch, width, heads, x.shape[1] / heads]), [0, 2, 1, 3]);

// (S, h) → (B, H, T, d). Padding holds a copy of a real token, which is finite and masked out.
function pad(x: Tensor2D, { width, index }: Side, layout: AttentionLayout): Tensor {
  return split(index === null ? x : takeRows(x, index.padded), width, layout);
}

// (S, h) → (B, H, T, d) with zeros at padding, for gradients, which are summed over all positions.
function padZero(x: Tensor2D, { width, index }: Side, layout: AttentionLayout): Tensor {
  return split(
    index === null ? x : scatterRows(x, index.places, layout.batch * width),
    width,
    layout,
  );
}

// (B, H, T, d) → (S, h)
function unpad(x: Tensor, { width, index }: Side, { batch }: AttentionLayout): Tensor2D {
  const inOrder = tf.transpose(x, [0, 2, 1, 3]); // (B, T, H, d)
  const positions = batch * width;
  const rows = tf.reshape<Rank.R2>(inOrder, [positions, inOrder.size / positions]); // (B·T, h)
  return index === null ? rows : takeRows(rows, index.places);
}

/**
 * softmax(QKᵀ/√d + mask)·V for each head. q: (Q, h) with Q = S, or B where each row has one query;
 * k, v: (S, h) → (Q, h).
 * @param keep dropout's mask on the attention weights, (B, H, Tq, T), already divided by 1 − rate
 *
 *     dV = P̃ᵀdO;  dP = keep·(dO Vᵀ);  dS = P·(dP − Σ_T dP·P);  dQ = dS K/√d;  dK = dSᵀQ/√d
 */
export function attention(
  q: Tensor2D,
  k: Tensor2D,
  v: Tensor2D,
  layout: AttentionLayout,
  queries: Side = layout.keys,
  keep?: Tensor,
): Tensor2D {
  const { keys, mask } = layout;
  const scale = 1 / Math.sqrt(q.shape[1] / layout.heads);
  return differentiable([q, k, v], {
    forward: () => {
      const Q = tf.mul(pad(q, queries, layout), scale),
        K = pad(k, keys, layout),
        V = pad(v, keys, layout); // (B, H, T, d)
      const scores = tf.matMul(Q, K, false, true); // (B, H, Tq, T)
      const P = tf.softmax(mask === null ? scores : tf.add(scores, mask));
      // The indexes must be saved too, since they belong to the scope of the forward pass.
      const indexes = [queries, keys].flatMap(({ index }) =>
        index === null ? [] : [index.padded, index.places],
      );
      const kept = keep === undefined ? P : tf.mul(P, keep); // P̃
      return {
        value: unpad(tf.matMul(kept, V), queries, layout), // (Q, h)
        saved: [Q, K, V, P, ...indexes, ...(keep === undefined ? [] : [keep])],
      };
    },
    backward: (dy, [Q, K, V, P, ...rest], needs) => {
      const restore = ({ width, index }: Side): Side => ({
        width,
        index:
          index === null
            ? null
            : { padded: rest.shift() as Tensor1D, places: rest.shift() as Tensor1D },
      });
      const querySide = restore(queries),
        keySide = restore(keys),
        kept = rest[0];
      const dO = padZero(dy, querySide, layout); // (B, H, Tq, d)
      const dV = needs[2]
        ? unpad(
            tf.matMul(kept === undefined ? P : tf.mul(P, kept), dO, true, false),
            keySide,
            layout,
          )
        : null; // (S, h)
      if (!needs[0] && !needs[1]) return [null, null, dV];
      const product = tf.matMul(dO, V, false, true); // (B, H, Tq, T)
      const weighted = tf.mul(kept === undefined ? product : tf.mul(product, kept), P);
      const dS = tf.sub(weighted, tf.mul(P, tf.sum(weighted, -1, true)));
      return [
        needs[0] ? unpad(tf.mul(tf.matMul(dS, K), scale), querySide, layout) : null, // (Q, h)
        // Q was multiplied by 1/√d already.
        needs[1] ? unpad(tf.matMul(dS, Q, true, false), keySide, layout) : null, // (S, h)
        dV,
      ];
    },
  });
}
