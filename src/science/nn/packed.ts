/**
 * Linear layers under several adapters at once. The rows of x are those of member 0, then of member 1, …; the frozen
 * weight multiplies them all, and each row meets its own member's factors alone.
 */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from '../tensor/differentiable.ts';
import { matmul } from '../tensor/matmul.ts';

/** Where each member's rows start, and after the last one where they end. (K + 1) */
export type Bounds = readonly number[];

/** The factors of one layer: A of all members one below the other (Σr, n), B side by side (m, Σr). */
export interface PackedFactors {
  /** By member; 0 where the member leaves the layer as it is. */
  readonly ranks: readonly number[];
  readonly scales: readonly number[];
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const scaled = (x: Tensor2D, by: number): Tensor2D => (by === 1 ? x : tf.mul(x, by));
const rowsOf = (x: Tensor, from: number, count: number): Tensor2D =>
  tf.slice(x as Tensor2D, [from, 0], [count, x.shape[1]!]);
const columnsOf = (x: Tensor, from: number, count: number): Tensor2D =>
  tf.slice(x as Tensor2D, [0, from], [x.shape[0], count]);

/** What an operation of its own costs a member, in floating-point operations: dispatch, and a pass over its rows' memory. */
const CALLS = 4e6,
  PASS = 60;

/**
 * Whether one product with all factors, of which the mask throws most away, is cheaper than one a member: the columns
 * that are computed in vain against a few more calls and copies.
 */
export function jointly(bounds: Bounds, { ranks }: PackedFactors, n: number, m: number): boolean {
  const rows = bounds.at(-1)!;
  const wanted = sum(ranks.map((rank, k) => rank * (bounds[k + 1]! - bounds[k]!)));
  return 2 * (n + m) * (rows * sum(ranks) - wanted) <= CALLS * ranks.length + PASS * rows * (n + m);
}

/** s_k at the rows and columns of member k, else 0. (S, Σr) */
export function memberMask(bounds: Bounds, { ranks, scales }: PackedFactors): Tensor2D {
  const columns = sum(ranks),
    rows = bounds.at(-1)!,
    values = new Float32Array(rows * columns);
  let from = 0;
  ranks.forEach((rank, k) => {
    for (let row = bounds[k]!; row < bounds[k + 1]!; row++)
      values.fill(scales[k]!, row * columns + from, row * columns + from + rank);
    from += rank;
  });
  return tf.tensor2d(values, [rows, columns]);
}

/**
 * y = x Wᵀ + b + (M ∘ x Aᵀ) Bᵀ, M the members' mask (S, Σr) with their scales. x: (S, n), W: (m, n), b: (m), A: (Σr, n),
 * B: (m, Σr) → (S, m). W and b are frozen.
 *
 *     u = M ∘ dy B (S, Σr);  dx = dy W + u A;  dA = uᵀx;  dB = dyᵀ(M ∘ x Aᵀ)
 */
export function jointLora(
  x: Tensor2D,
  W: Tensor2D,
  b: Tensor1D,
  A: Tensor2D,
  B: Tensor2D,
  mask: Tensor2D,
): Tensor2D {
  return differentiable([x, A, B], {
    forward: (save) => {
      const down = tf.mul(matmul(x, A, false, true), mask); // (S, Σr)
      save(x, W, A, B, down, mask);
      return tf.add(tf.add(matmul(x, W, false, true), b), matmul(down, B, false, true)); // (S, m)
    },
    backward: (dy, [input, weight, a, bb, down, own], needs) => {
      const u = needs[0] || needs[1] ? tf.mul(matmul(dy, bb!), own!) : null; // (S, Σr)
      return [
        needs[0] ? tf.add(matmul(dy, weight!), matmul(u!, a!)) : null,
        needs[1] ? matmul(u!, input!, true, false) : null,
        needs[2] ? matmul(dy, down!, true, false) : null, // down holds the scale
      ];
    },
  }) as Tensor2D;
}

/** The same, each member's low-rank term by itself: where ranks are large, most of a joint product would be thrown away. */
export function apartLora(
  x: Tensor2D,
  W: Tensor2D,
  b: Tensor1D,
  A: Tensor2D,
  B: Tensor2D,
  bounds: Bounds,
  { ranks, scales }: PackedFactors,
): Tensor2D {
  const offsets = ranks.map((_, k) => sum(ranks.slice(0, k)));
  const each = <T>(
    of: (
      k: number,
      rows: (t: Tensor) => Tensor2D,
      ofA: (t: Tensor) => Tensor2D,
      ofB: (t: Tensor) => Tensor2D,
    ) => T,
  ): T[] =>
    ranks.map((rank, k) =>
      of(
        k,
        (t) => rowsOf(t, bounds[k]!, bounds[k + 1]! - bounds[k]!),
        (t) => rowsOf(t, offsets[k]!, rank),
        (t) => columnsOf(t, offsets[k]!, rank),
      ),
    );
  return differentiable([x, A, B], {
    forward: (save) => {
      const downs: Tensor2D[] = [];
      const ups = each((k, rows, ofA, ofB) => {
        if (ranks[k] === 0) return tf.zeros([bounds[k + 1]! - bounds[k]!, W.shape[0]]);
        const down = scaled(matmul(rows(x), ofA(A), false, true), scales[k]!); // (S_k, r_k)
        downs.push(down);
        return matmul(down, ofB(B), false, true); // (S_k, m)
      });
      save(x, W, A, B, ...downs);
      return tf.add(tf.add(matmul(x, W, false, true), b), tf.concat(ups as Tensor2D[], 0)); // (S, m)
    },
    backward: (dy, [input, weight, a, bb, ...downs], needs) => {
      const dx: Tensor2D[] = [],
        dA: Tensor2D[] = [],
        dB: Tensor2D[] = [];
      each((k, rows, ofA, ofB) => {
        if (ranks[k] === 0) {
          dx.push(tf.zeros([bounds[k + 1]! - bounds[k]!, x.shape[1]]));
          return;
        }
        const own = rows(dy),
          u = scaled(matmul(own, ofB(bb!)), scales[k]!); // (S_k, r_k)
        if (needs[0]) dx.push(matmul(u, ofA(a!)));
        dA.push(matmul(u, rows(input!), true, false));
        dB.push(matmul(own, downs.shift()!, true, false));
      });
      return [
        needs[0] ? tf.add(matmul(dy, weight!), tf.concat(dx, 0)) : null,
        tf.concat(dA, 0),
        tf.concat(dB, 1),
      ];
    },
  }) as Tensor2D;
}

/**
 * Each member's own layer: y_k = x_k W_kᵀ + b_k. x: (S, n), W: (K·m, n) one below the other, b: (K·m) → (S, m).
 *
 *     dx_k = dy_k W_k;  dW_k = dy_kᵀ x_k;  db_k = Σ_S dy_k
 */
export function apartLinear(x: Tensor2D, W: Tensor2D, b: Tensor1D, bounds: Bounds): Tensor2D {
  const members = bounds.length - 1,
    m = W.shape[0] / members;
  const each = <T>(
    of: (rows: (t: Tensor) => Tensor2D, weight: (t: Tensor) => Tensor2D, k: number) => T,
  ): T[] =>
    Array.from({ length: members }, (_, k) =>
      of(
        (t) => rowsOf(t, bounds[k]!, bounds[k + 1]! - bounds[k]!),
        (t) => rowsOf(t, k * m, m),
        k,
      ),
    );
  return differentiable([x, W, b], {
    forward: (save) => {
      save(x, W);
      return tf.concat(
        each((rows, weight, k) =>
          tf.add(matmul(rows(x), weight(W), false, true), tf.slice(b, [k * m], [m])),
        ) as Tensor2D[],
        0,
      );
    },
    backward: (dy, [input, weights], needs) => [
      needs[0]
        ? tf.concat(
            each((rows, weight) => matmul(rows(dy), weight(weights!))),
            0,
          )
        : null,
      needs[1]
        ? tf.concat(
            each((rows) => matmul(rows(dy), rows(input!), true, false)),
            0,
          )
        : null,
      needs[2]
        ? tf.concat(
            each((rows) => tf.sum(rows(dy), 0) as Tensor1D),
            0,
          )
        : null,
    ],
  }) as Tensor2D;
}

/** Mean cross-entropy of each member, (K); the gradient is that of their sum. logits: (B, C), rows by member. */
export function memberLosses(
  logits: Tensor2D,
  labels: readonly number[],
  bounds: Bounds,
): Tensor1D {
  const [batch, classes] = logits.shape,
    members = bounds.length - 1;
  return differentiable([logits], {
    forward: (save) => {
      const targets = new Float32Array(batch * classes),
        shares = new Float32Array(members * batch);
      labels.forEach((label, b) => {
        targets[b * classes + label] = 1;
      });
      for (let k = 0; k < members; k++)
        shares.fill(
          1 / (bounds[k + 1]! - bounds[k]!),
          k * batch + bounds[k]!,
          k * batch + bounds[k + 1]!,
        );
      const onehot = tf.tensor2d(targets, [batch, classes]),
        share = tf.tensor2d(shares, [members, batch]);
      const shifted = tf.sub(logits, tf.max(logits, -1, true)); // (B, C)
      const exp = tf.exp(shifted),
        total = tf.sum(exp, -1, true);
      save(tf.sub(tf.div(exp, total), onehot), share);
      const losses = tf.sub(tf.log(total), tf.sum(tf.mul(shifted, onehot), -1, true)) as Tensor2D; // (B, 1)
      return tf.reshape(matmul(share, losses), [members]);
    },
    backward: (dy, [gradient, share]) => [
      tf.mul(gradient!, matmul(share!, tf.reshape(dy, [members, 1]), true, false)),
    ],
  }) as Tensor1D;
}
