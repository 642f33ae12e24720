/**
 * Factors that start as a part of the weight itself, which the layer then subtracts again so that
 * the model is unchanged at the start: W' = W − s·B₀·A₀ + s·B·A. PiSSA (Meng et al. 2024, eq. 2–4)
 * takes W's leading singular vectors, OLoRA (Büyükakyüz 2024) the first columns of its QR
 * decomposition. Both are computed as in PEFT, except that the sign of a singular vector, which
 * does not matter, may differ.
 */
import { createHash } from 'node:crypto';
import type { Residual } from '../../../src/science/models/io/peft-config.ts';
import type { HostTensor } from '../../../src/science/models/types.ts';
import { leadingLeftVectors } from '../../../src/tensor/linalg/left-vectors.ts';
import { processWide } from '../../../src/tensor/process-wide.ts';

/** A (r, n) and B (m, r). */
export interface Factors {
  readonly A: HostTensor;
  readonly B: HostTensor;
}

type Double = (W: Float64Array, m: number, n: number, r: number, scale: number) => Rows;
/** A by rows (r, n), and Bᵀ by rows (r, m). */
interface Rows {
  readonly A: readonly Float64Array[];
  readonly B: readonly Float64Array[];
}

const entry = (values: Float64Array, i: number): number => values[i] ?? 0;
const dot = (a: Float64Array, b: Float64Array): number =>
  a.reduce((sum, x, i) => sum + x * entry(b, i), 0);
/** vᵀW. (m), (m, n) → (n) */
function rowTimes(v: Float64Array, W: Float64Array, m: number, n: number): Float64Array {
  const out = new Float64Array(n);
  for (let i = 0; i < m; i++) {
    const x = entry(v, i);
    for (let j = 0; j < n; j++) out[j] = entry(out, j) + x * entry(W, i * n + j);
  }
  return out;
}

/** B = U_r √(Σ_r/s), A = √(Σ_r/s) V_rᵀ of W = U Σ Vᵀ. */
const principal: Double = (W, m, n, r, scale) => {
  const U = leadingLeftVectors(W, m, n, r); // (m, r)
  const A: Float64Array[] = [],
    B: Float64Array[] = [];
  for (let k = 0; k < r; k++) {
    const u = Float64Array.from({ length: m }, (_, i) => entry(U, i * r + k));
    const v = rowTimes(u, W, m, n), // σ v
      sigma = Math.sqrt(dot(v, v)),
      root = Math.sqrt(sigma / scale);
    A.push(v.map((x) => (sigma === 0 ? 0 : (x / sigma) * root)));
    B.push(u.map((x) => x * root));
  }
  return { A, B };
};

/**
 * B = the first r columns of Q, A = the first r rows of R, of W = QR by Householder reflections
 * (LAPACK's signs: a diagonal entry of R has the sign opposite to that of the column it reduces).
 */
const orthogonal: Double = (W, m, n, r) => {
  const columns = Array.from({ length: r }, (_, k) =>
    Float64Array.from({ length: m }, (__, i) => entry(W, i * n + k)),
  );
  const reflections: (Float64Array | null)[] = [];
  const reflect = (x: Float64Array, v: Float64Array | null): void => {
    if (v === null) return;
    const twice = 2 * dot(v, x);
    x.forEach((value, i) => {
      x[i] = value - twice * entry(v, i);
    });
  };
  columns.forEach((x, k) => {
    for (const v of reflections) reflect(x, v);
    const below = x.map((value, i) => (i < k ? 0 : value)),
      alpha = entry(x, k);
    // Nothing below the diagonal: LAPACK leaves the column, and so its sign, as it is.
    if (below.every((value, i) => i <= k || value === 0)) {
      reflections.push(null);
      return;
    }
    below[k] = alpha + (alpha < 0 ? -1 : 1) * Math.sqrt(dot(below, below));
    const norm = Math.sqrt(dot(below, below));
    reflections.push(below.map((value) => value / norm));
  });
  const B = Array.from({ length: r }, (_, k) => {
    const q = new Float64Array(m);
    q[k] = 1;
    for (const v of reflections.slice().reverse()) reflect(q, v);
    return q;
  });
  return { A: B.map((q) => rowTimes(q, W, m, n)), B };
};

const computed: Readonly<Record<Residual, Double>> = { pissa: principal, olora: orthogonal };

/** How many factors are kept, those used last: the cells of a grid ask for the same ones. */
const KEPT = 512;
const known = processWide('residual-factors', () => new Map<string, Factors>());

/**
 * @param weight W, (m, n)
 * @param rank at most min(m, n)
 * @param scale s, above zero
 */
export function residualFactors(
  kind: Residual,
  { data, shape }: HostTensor,
  rank: number,
  scale: number,
): Factors {
  const [m = 0, n = 0] = shape;
  const key = createHash('sha256')
    .update(JSON.stringify([kind, shape, rank, scale]))
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest('base64');
  const found = known.get(key);
  if (found !== undefined) return found;
  const { A, B } = computed[kind](Float64Array.from(data), m, n, rank, scale);
  const factors: Factors = {
    A: { shape: [rank, n], data: Float32Array.from(A.flatMap((row) => [...row])) },
    B: {
      shape: [m, rank],
      data: Float32Array.from({ length: m * rank }, (_, at) =>
        entry(B[at % rank] ?? new Float64Array(0), Math.floor(at / rank)),
      ),
    },
  };
  known.set(key, factors);
  for (const oldest of known.keys()) {
    if (known.size <= KEPT) break;
    known.delete(oldest);
  }
  return factors;
}
