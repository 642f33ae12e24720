/**
 * The Fisher information's nonzero spectrum from K and the logits, without a P × P matrix
 * (docs/theory.md, Fisher information): for gradients G = 𝓛ᵀJ, the matrices GᵀG/N and GGᵀ/N =
 * 𝓛ᵀK𝓛/N share their nonzero eigenvalues.
 */

/**
 * Row-major (n, n), symmetric. `zeros`: eigenvalues that are zero by construction and were left
 * out.
 */
export interface SymmetricMatrix {
  readonly n: number;
  readonly data: Float64Array;
  readonly zeros: number;
}

/** softmax by row. logits: (N, C) → (N, C). */
export function softmax(logits: ArrayLike<number>, classes: number): Float64Array {
  const p = new Float64Array(logits.length);
  for (let i = 0; i < logits.length; i += classes) {
    let top = -Infinity,
      sum = 0;
    for (let c = 0; c < classes; c++) top = Math.max(top, logits[i + c]!);
    for (let c = 0; c < classes; c++) sum += p[i + c] = Math.exp(logits[i + c]! - top);
    for (let c = 0; c < classes; c++) p[i + c]! /= sum;
  }
  return p;
}

/**
 * L with L Lᵀ = diag(p) − p pᵀ, of full column rank: L = diag(√p) Q, Q an orthonormal basis of √p's
 * complement. p: (C) → (C, C − 1), row-major.
 */
export function classFactor(p: ArrayLike<number>): Float64Array {
  const classes = p.length;
  const u = Float64Array.from(p, Math.sqrt); // unit
  // Householder: (I − 2vvᵀ/vᵀv) u = −e_k with v = u + e_k, so its other columns span u's
  // complement; this k avoids cancellation.
  const k = u.indexOf(Math.max(...u));
  const norm = 2 * (1 + u[k]!); // vᵀv
  const v = (c: number): number => u[c]! + (c === k ? 1 : 0);
  const factor = new Float64Array(classes * (classes - 1));
  for (let c = 0; c < classes; c++) {
    for (let column = 0; column < classes - 1; column++) {
      const d = column < k ? column : column + 1;
      factor[c * (classes - 1) + column] = u[c]! * ((c === d ? 1 : 0) - (2 * v(c) * v(d)) / norm);
    }
  }
  return factor;
}

/** FᵀKF/N for F = blockdiag(F_i). kernel: (N, C, N, C), factors: N × (C, k) → (N·k, N·k). */
function sandwich(
  kernel: ArrayLike<number>,
  rows: number,
  classes: number,
  factors: readonly Float64Array[],
  k: number,
): Float64Array {
  const size = rows * classes,
    n = rows * k;
  const half = new Float64Array(size * n); // KF: (N·C, N·k)
  for (let x = 0; x < size; x++) {
    for (let j = 0; j < rows; j++) {
      for (let d = 0; d < classes; d++) {
        const value = kernel[x * size + j * classes + d]!;
        for (let b = 0; b < k; b++) half[x * n + j * k + b]! += value * factors[j]![d * k + b]!;
      }
    }
  }
  const out = new Float64Array(n * n);
  for (let i = 0; i < rows; i++) {
    for (let c = 0; c < classes; c++) {
      for (let a = 0; a < k; a++) {
        const weight = factors[i]![c * k + a]! / rows;
        for (let y = 0; y < n; y++)
          out[(i * k + a) * n + y]! += weight * half[(i * classes + c) * n + y]!;
      }
    }
  }
  return out;
}

/**
 * The matrix of the true Fisher information, E_x E_{y~p} g gᵀ: 𝓛ᵀK𝓛/N, L_iL_iᵀ = diag(p_i) −
 * p_ip_iᵀ. kernel: (N, C, N, C), logits: (N, C).
 */
export function trueFisher(
  kernel: ArrayLike<number>,
  logits: ArrayLike<number>,
  rows: number,
  classes: number,
): SymmetricMatrix {
  const p = softmax(logits, classes);
  const factors = Array.from({ length: rows }, (_, i) =>
    classFactor(p.subarray(i * classes, (i + 1) * classes)),
  );
  // L_i of the formula has C columns and rank C − 1, so each row brings one zero eigenvalue.
  return {
    n: rows * (classes - 1),
    data: sandwich(kernel, rows, classes, factors, classes - 1),
    zeros: rows,
  };
}

/**
 * The matrix of the empirical Fisher information of a completion task, E g gᵀ for g = ∇ log
 * p(answer): K/N. Throws RangeError unless K is of one output a row. kernel: (N, 1, N, 1).
 */
export function answersFisher(kernel: ArrayLike<number>, rows: number): SymmetricMatrix {
  if (kernel.length !== rows ** 2)
    throw new RangeError(`a kernel of ${kernel.length} entries doesn't belong to ${rows} answers`);
  return { n: rows, data: Float64Array.from(kernel, (value) => value / rows), zeros: 0 };
}

/**
 * The matrix of the empirical Fisher information, E g gᵀ at the labels: [r_iᵀK_ij r_j]/N, r_i = p_i
 * − onehot(y_i). labels: (N).
 */
export function empiricalFisher(
  kernel: ArrayLike<number>,
  logits: ArrayLike<number>,
  labels: readonly number[],
  rows: number,
  classes: number,
): SymmetricMatrix {
  const p = softmax(logits, classes);
  const residuals = Array.from({ length: rows }, (_, i) =>
    p.slice(i * classes, (i + 1) * classes).map((value, c) => value - (labels[i] === c ? 1 : 0)),
  );
  return { n: rows, data: sandwich(kernel, rows, classes, residuals, 1), zeros: 0 };
}
