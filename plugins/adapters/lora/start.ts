/**
 * The initial values of LoRA's own parameters: drawn, read from a folder, or a part of the weight
 * W. A layer subtracts initial factors that are a part of W, so that the model is unchanged at the
 * start: W' = W − s·B₀·A₀ + s·B·A. PiSSA (Meng et al. 2024, eq. 2–4) takes W's leading singular
 * vectors, OLoRA (Büyükakyüz 2024) the first columns of W's QR decomposition. Both are computed as
 * in PEFT, except that the sign of a singular vector, which does not matter, may differ.
 */
import { createHash } from 'node:crypto';
import { named } from '../../../src/base/lookup.ts';
import { processWide } from '../../../src/base/process-wide.ts';
import type { FactorNames, WeightReader } from '../../../src/science/models/adapter.ts';
import type { PeftAdapter, PeftFactors } from '../../../src/science/models/io/peft.ts';
import type { HostTensor, LinearLayer } from '../../../src/science/models/types.ts';
import { leadingLeftVectors } from '../../../src/tensor/linalg.ts';
import {
  type Distribution,
  drawA,
  initialVariance,
  isDrawn,
  presets,
  type Residual,
} from './init.ts';
import type { LayerPlan } from './plan.ts';

/** A (r, n) and B (m, r). */
interface Factors {
  readonly A: HostTensor;
  readonly B: HostTensor;
}

/** Computes from W, (m, n) row-major, initial A and B of rank r whose s·B·A is a part of W. */
type Factorise = (W: Float64Array, m: number, n: number, r: number, scale: number) => FactorRows;
/** A as its r rows, (r, n), and B as its r columns, (r, m). */
interface FactorRows {
  readonly A: readonly Float64Array[];
  readonly B: readonly Float64Array[];
}

/** Returns the value at i; 0 beyond the end. */
const entry = (values: Float64Array, i: number): number => values[i] ?? 0;
const dot = (a: Float64Array, b: Float64Array): number =>
  a.reduce((sum, x, i) => sum + x * entry(b, i), 0);
/** vᵀW. (m), (m, n) → (n) */
function vectorTimesMatrix(v: Float64Array, W: Float64Array, m: number, n: number): Float64Array {
  const out = new Float64Array(n);
  for (let i = 0; i < m; i++) {
    const x = entry(v, i);
    for (let j = 0; j < n; j++) out[j] = entry(out, j) + x * entry(W, i * n + j);
  }
  return out;
}

/** PiSSA: B = U_r √(Σ_r/s), A = √(Σ_r/s) V_rᵀ, by the r largest singular values of W = U Σ Vᵀ. */
const pissa: Factorise = (W, m, n, r, scale) => {
  const U = leadingLeftVectors(W, m, n, r); // (m, r)
  const A: Float64Array[] = [],
    B: Float64Array[] = [];
  for (let k = 0; k < r; k++) {
    const u = Float64Array.from({ length: m }, (_, i) => entry(U, i * r + k));
    const v = vectorTimesMatrix(u, W, m, n), // σ v
      sigma = Math.sqrt(dot(v, v)),
      root = Math.sqrt(sigma / scale);
    A.push(v.map((x) => (sigma === 0 ? 0 : (x / sigma) * root)));
    B.push(u.map((x) => x * root));
  }
  return { A, B };
};

/**
 * OLoRA: for W = QR, B is the first r columns of Q, and A the first r rows of R. QR is computed by
 * Householder reflections with LAPACK's signs: a diagonal entry of R has the opposite sign of the
 * entry that it replaces.
 */
const olora: Factorise = (W, m, n, r) => {
  const columns = Array.from({ length: r }, (_, k) =>
    Float64Array.from({ length: m }, (__, i) => entry(W, i * n + k)),
  );
  const reflections: (Float64Array | null)[] = [];
  // Replaces x by (I − 2vvᵀ)x, in place; null stands for no reflection.
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
    // If all is zero below the diagonal, LAPACK leaves the column, diagonal entry included.
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
  return { A: B.map((q) => vectorTimesMatrix(q, W, m, n)), B };
};

const factorisations = new Map(Object.entries<Factorise>({ pissa, olora }));

/** How many layers' factors are cached, the last computed ones: the cells of a grid share them. */
const MOST_CACHED = 512;
const cachedFactors = processWide('residual-factors', () => new Map<string, Factors>());

/**
 * Returns the initial A (r, n) and B (m, r) of PiSSA or OLoRA (`kind`) for a weight W, (m, n). The
 * last MOST_CACHED results are kept, and returned for an equal W.
 */
function residualFactors(
  kind: string,
  { data, shape }: HostTensor,
  rank: number,
  scale: number,
): Factors {
  const [m = 0, n = 0] = shape;
  const key = createHash('sha256')
    .update(JSON.stringify([kind, shape, rank, scale]))
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest('base64');
  const found = cachedFactors.get(key);
  if (found !== undefined) return found;
  const { A, B } = named(factorisations, kind)(Float64Array.from(data), m, n, rank, scale);
  const factors: Factors = {
    A: { shape: [rank, n], data: Float32Array.from(A.flatMap((row) => [...row])) },
    B: {
      shape: [m, rank],
      // from Bᵀ (r, m)
      data: Float32Array.from({ length: m * rank }, (_, at) =>
        entry(B[at % rank] ?? new Float64Array(0), Math.floor(at / rank)),
      ),
    },
  };
  cachedFactors.set(key, factors);
  for (const oldest of cachedFactors.keys()) {
    if (cachedFactors.size <= MOST_CACHED) break;
    cachedFactors.delete(oldest);
  }
  return factors;
}

/**
 * Returns a layer's initial factors; as `fixed`, the factors to subtract, if any; and the
 * magnitudes of a folder, if it has them.
 */
type LayerStart = (
  layer: LinearLayer,
  rank: number,
  seed: number,
  scale: number,
  readWeight: () => HostTensor,
) => Omit<PeftFactors, 'alpha'>;

/** Returns a start with A drawn and B zero; or, under PiSSA and OLoRA, with both taken from W. */
export function drawnStart(init: {
  readonly distribution: Distribution | Residual;
  readonly variance?: number | string;
}): LayerStart {
  const { distribution } = init;
  if (!isDrawn(distribution))
    return (_layer, rank, _seed, scale, readWeight) => {
      const factors = residualFactors(distribution, readWeight(), rank, scale);
      return { ...factors, fixed: factors };
    };
  const { shape } = presets[distribution];
  return ({ name, in: n, out: m }, rank, seed) => ({
    A: drawA(name, n, rank, shape, initialVariance({ ...init, distribution }, n, rank), seed),
    B: { shape: [m, rank], data: new Float32Array(m * rank) },
  });
}

/**
 * Returns a start with a folder's factors. If these began as a part of W, `fixed` is that part: the
 * folder's or, if the folder does not hold it, computed again.
 */
export const folderStart =
  ({ layers, residual = null }: PeftAdapter): LayerStart =>
  ({ name }, rank, _seed, scale, readWeight) => {
    const held = named(layers, name);
    if (residual === null || held.fixed !== undefined) return held;
    return { ...held, fixed: residualFactors(residual, readWeight(), rank, scale) };
  };

/** Returns the L2 norms of the rows of W + Σ s·B·A over `products`, (m). W: (m, n). */
function rowNorms(
  W: HostTensor,
  products: readonly (Factors & { readonly scale: number })[],
): HostTensor {
  const [m = 0, n = 0] = W.shape;
  const norms = Float32Array.from({ length: m }, (_, i) => {
    const row = Float64Array.from(W.data.subarray(i * n, (i + 1) * n));
    for (const { A, B, scale } of products) {
      const r = A.shape[0] ?? 0;
      for (let k = 0; k < r; k++) {
        const b = scale * (B.data[i * r + k] ?? 0);
        if (b === 0) continue;
        for (let j = 0; j < n; j++) row[j] = (row[j] ?? 0) + b * (A.data[k * n + j] ?? 0);
      }
    }
    return Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
  });
  return { shape: [m], data: norms };
}

export interface StartPlan {
  readonly layers: ReadonlyMap<string, LayerPlan>;
  readonly start: LayerStart;
}

/**
 * Returns the initial values of the parameters that LoRA adds to a layer, by name. Unless a folder
 * has them, DoRA's magnitudes start as the norms of the adapted weight's rows, so that DoRA changes
 * nothing at the start.
 * @param read reads W; needed for DoRA, PiSSA and OLoRA
 */
export function startValues(
  layer: LinearLayer,
  names: FactorNames,
  { layers, start }: StartPlan,
  seed: number,
  read: WeightReader | undefined,
): ReadonlyMap<string, HostTensor> {
  const { rank } = named(layers, layer.name);
  // Reads W. Throws if `read` is undefined.
  const readWeight = (): HostTensor => {
    if (read === undefined) throw new Error(`${layer.name} starts from its weight`);
    return read(`${layer.name}.weight`);
  };
  const { scale } = names;
  const { A, B, fixed, magnitude } = start(layer, rank, seed, scale, readWeight);
  const values = new Map([
    [names.A, A],
    [names.B, B],
  ]);
  if (names.fixed !== undefined && fixed !== undefined) {
    values.set(names.fixed.A, fixed.A);
    values.set(names.fixed.B, fixed.B);
  }
  if (names.magnitude !== undefined) {
    const trained = { A, B, scale },
      products = fixed === undefined ? [trained] : [trained, { ...fixed, scale: -scale }];
    values.set(names.magnitude, magnitude ?? rowNorms(readWeight(), products));
  }
  return values;
}
