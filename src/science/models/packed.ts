/**
 * Linear layers under the adapters of several members at once. The rows of x are those of member 0,
 * then those of member 1, and so on. The frozen weight multiplies all rows in one product; the
 * low-rank factors of a member see its rows only.
 */
import type { Rank, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../base/lookup.ts';
import { differentiable } from '../../tensor/differentiable.ts';
import { matmul, rowSums } from '../../tensor/matmul.ts';
import { biased, biasedSum } from './linear.ts';
import { oneHot } from './loss.ts';

/** Where each member's rows start, then where the last member's end. (K + 1) */
export type Bounds = readonly number[];

/** How many rows member k has. */
const rowsIn = (bounds: Bounds, k: number): number => at(bounds, k + 1) - at(bounds, k);
/** How many rows all members have. */
const allRows = (bounds: Bounds): number => at(bounds, bounds.length - 1);

/**
 * The factors of one layer: A of all members stacked along the rows (Σr, n), B along the columns
 * (m, Σr).
 */
export interface PackedFactors {
  /** The rank of each member; 0 where it does not adapt the layer. */
  readonly ranks: readonly number[];
  readonly scales: readonly number[];
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const scaled = (x: Tensor2D, by: number): Tensor2D => (by === 1 ? x : tf.mul(x, by));
const rowsOf = (x: Tensor2D, from: number, count: number): Tensor2D =>
  tf.slice(x, [from, 0], [count, x.shape[1]]);
const columnsOf = (x: Tensor2D, from: number, count: number): Tensor2D =>
  tf.slice(x, [0, from], [x.shape[0], count]);

/**
 * The cost, in floating-point operations, of a separate product for each member beyond the product
 * itself: CALLS to dispatch it, and PASS for each entry of the rows that are copied in memory.
 */
const CALLS = 4e6,
  PASS = 60;

/**
 * Whether one product with the factors of all members, most of which the mask discards, is cheaper
 * than one product for each member: the wasted columns against the additional calls and copies.
 */
export function jointly(bounds: Bounds, { ranks }: PackedFactors, n: number, m: number): boolean {
  const rows = allRows(bounds);
  const wanted = sum(ranks.map((rank, k) => rank * rowsIn(bounds, k)));
  return 2 * (n + m) * (rows * sum(ranks) - wanted) <= CALLS * ranks.length + PASS * rows * (n + m);
}

/** s_k in the rows and columns of member k, 0 elsewhere. (S, Σr) */
export function memberMask(bounds: Bounds, { ranks, scales }: PackedFactors): Tensor2D {
  const columns = sum(ranks),
    rows = allRows(bounds),
    values = new Float32Array(rows * columns);
  let from = 0;
  ranks.forEach((rank, k) => {
    const scale = at(scales, k),
      end = at(bounds, k + 1);
    for (let row = at(bounds, k); row < end; row++)
      values.fill(scale, row * columns + from, row * columns + from + rank);
    from += rank;
  });
  return tf.tensor2d(values, [rows, columns]);
}

/**
 * y = x Wᵀ + b + (M ∘ x Aᵀ) Bᵀ, with M the mask of `memberMask`, which holds the scales. W and b
 * are frozen; b may be absent. x: (S, n), W: (m, n), b: (m), A: (Σr, n), B: (m, Σr), M: (S, Σr) →
 * (S, m).
 *
 *     u = M ∘ dy B (S, Σr);  dx = dy W + u A;  dA = uᵀx;  dB = dyᵀ(M ∘ x Aᵀ)
 */
export function jointLora(
  x: Tensor2D,
  W: Tensor2D,
  b: Tensor1D | null,
  A: Tensor2D,
  B: Tensor2D,
  mask: Tensor2D,
): Tensor2D {
  return differentiable([x, A, B], {
    forward: () => {
      const down = tf.mul(matmul(x, A, false, true), mask); // (S, Σr)
      const base = matmul(x, W, false, true); // (S, m)
      return {
        value: biasedSum(base, b, matmul(down, B, false, true)), // (S, m)
        saved: [x, W, A, B, down, mask],
      };
    },
    backward: (dy, [input, weight, a, bb, down, own], needs) => {
      const u = needs[0] || needs[1] ? tf.mul(matmul(dy, bb), own) : null; // (S, Σr)
      return [
        u !== null && needs[0] ? tf.add(matmul(dy, weight), matmul(u, a)) : null,
        u !== null && needs[1] ? matmul(u, input, true, false) : null,
        needs[2] ? matmul(dy, down, true, false) : null, // the scale is already part of `down`
      ];
    },
  });
}

/**
 * y = (M ∘ x Aᵀ) Bᵀ, the low-rank terms of all members alone, with M as in `jointLora`; A and B are
 * frozen. x: (S, n), A: (Σr, n), B: (m, Σr), M: (S, Σr) → (S, m).    dx = (M ∘ dy B) A
 */
export function jointFrozen(x: Tensor2D, A: Tensor2D, B: Tensor2D, mask: Tensor2D): Tensor2D {
  return differentiable([x], {
    forward: () => ({
      value: matmul(tf.mul<Tensor2D>(matmul(x, A, false, true), mask), B, false, true), // (S, m)
      saved: [A, B, mask],
    }),
    backward: (dy, [a, bb, own]) => [matmul(tf.mul<Tensor2D>(matmul(dy, bb), own), a)],
  });
}

/**
 * `jointLora` with one low-rank product for each member: cheaper where ranks are so large that most
 * of a joint product would be discarded.
 */
export function apartLora(
  x: Tensor2D,
  W: Tensor2D,
  b: Tensor1D | null,
  A: Tensor2D,
  B: Tensor2D,
  bounds: Bounds,
  { ranks, scales }: PackedFactors,
): Tensor2D {
  const members = ranks.map((rank, k) => {
    const offset = sum(ranks.slice(0, k)),
      rows = rowsIn(bounds, k);
    return {
      rank,
      rows,
      scale: at(scales, k),
      ofRows: (t: Tensor2D) => rowsOf(t, at(bounds, k), rows),
      ofA: (t: Tensor2D) => rowsOf(t, offset, rank),
      ofB: (t: Tensor2D) => columnsOf(t, offset, rank),
    };
  });
  return differentiable([x, A, B], {
    forward: () => {
      const downs: Tensor2D[] = [];
      const ups = members.map(({ rank, rows, scale, ofRows, ofA, ofB }) => {
        if (rank === 0) return tf.zeros<Rank.R2>([rows, W.shape[0]]);
        const down = scaled(matmul(ofRows(x), ofA(A), false, true), scale); // (S_k, r_k)
        downs.push(down);
        return matmul(down, ofB(B), false, true); // (S_k, m)
      });
      const base = matmul(x, W, false, true); // (S, m)
      return {
        value: biasedSum(base, b, tf.concat(ups, 0)), // (S, m)
        saved: [x, W, A, B, ...downs],
      };
    },
    backward: (dy, [input, weight, a, bb, ...downs], needs) => {
      const dx: Tensor2D[] = [],
        dA: Tensor2D[] = [],
        dB: Tensor2D[] = [];
      let adapted = 0;
      for (const { rank, rows, scale, ofRows, ofA, ofB } of members) {
        if (rank === 0) {
          dx.push(tf.zeros([rows, x.shape[1]]));
          continue;
        }
        const own = ofRows(dy),
          u = scaled(matmul(own, ofB(bb)), scale); // (S_k, r_k)
        if (needs[0]) dx.push(matmul(u, ofA(a)));
        dA.push(matmul(u, ofRows(input), true, false));
        dB.push(matmul(own, at(downs, adapted++), true, false));
      }
      return [
        needs[0] ? tf.add(matmul(dy, weight), tf.concat(dx, 0)) : null,
        tf.concat(dA, 0),
        tf.concat(dB, 1),
      ];
    },
  });
}

/**
 * A separate layer for each member: y_k = x_k W_kᵀ + b_k. The weights and biases of the members are
 * stacked along the rows; b may be absent. x: (S, n), W: (K·m, n), b: (K·m) → (S, m).
 *
 *     dx_k = dy_k W_k;  dW_k = dy_kᵀ x_k;  db_k = Σ_S dy_k
 */
export function apartLinear(
  x: Tensor2D,
  W: Tensor2D,
  b: Tensor1D | null,
  bounds: Bounds,
): Tensor2D {
  const count = bounds.length - 1,
    m = W.shape[0] / count;
  const members = Array.from({ length: count }, (_, k) => ({
    start: k * m,
    ofRows: (t: Tensor2D) => rowsOf(t, at(bounds, k), rowsIn(bounds, k)),
    ofWeight: (t: Tensor2D) => rowsOf(t, k * m, m),
  }));
  return differentiable([x, W, b], {
    forward: () => {
      const parts = members.map(({ start, ofRows, ofWeight }) =>
        biased(
          matmul(ofRows(x), ofWeight(W), false, true),
          b === null ? null : tf.slice(b, [start], [m]),
        ),
      );
      return { value: tf.concat(parts, 0), saved: [x, W] };
    },
    backward: (dy, [input, weights], needs) => {
      const dx = () => members.map(({ ofRows, ofWeight }) => matmul(ofRows(dy), ofWeight(weights)));
      const dW = () => members.map(({ ofRows }) => matmul(ofRows(dy), ofRows(input), true, false));
      const db = () => members.map(({ ofRows }) => tf.sum<Tensor1D>(ofRows(dy), 0));
      return [
        needs[0] ? tf.concat(dx(), 0) : null,
        needs[1] ? tf.concat(dW(), 0) : null,
        needs[2] ? tf.concat(db(), 0) : null,
      ];
    },
  });
}

/**
 * The mean cross-entropy of each member, (K). The gradient is that of their sum. logits: (B, C),
 * rows by member.
 */
export function memberLosses(
  logits: Tensor2D,
  labels: readonly number[],
  bounds: Bounds,
): Tensor1D {
  const [batch, classes] = logits.shape,
    members = bounds.length - 1;
  return differentiable([logits], {
    forward: () => {
      const shares = new Float32Array(members * batch);
      for (let k = 0; k < members; k++)
        shares.fill(
          1 / rowsIn(bounds, k),
          k * batch + at(bounds, k),
          k * batch + at(bounds, k + 1),
        );
      const onehot = oneHot(labels, classes),
        share = tf.tensor2d(shares, [members, batch]);
      const shifted = tf.sub(logits, tf.max(logits, -1, true)); // (B, C)
      const exp = tf.exp(shifted),
        total = tf.sum(exp, -1, true); // (B, 1)
      const losses = tf.sub(tf.log(total), tf.sum(tf.mul(shifted, onehot), -1, true)); // (B, 1)
      return {
        value: tf.reshape<Rank.R1>(rowSums(share, losses), [members]),
        saved: [tf.sub(tf.div(exp, total), onehot), share],
      };
    },
    backward: (dy, [gradient, share]) => [
      tf.mul(gradient, rowSums(share, tf.reshape(dy, [members, 1]), true)),
    ],
  });
}
