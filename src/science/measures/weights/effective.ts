/**
 * Effective weights on the host, in double precision. W_eff is the matrix by which a layer
 * multiplies, in whatever form the adapter keeps it. ΔW = W_eff(t) − W_eff(0) is how far training
 * moved it: for LoRA s(BA − B₀A₀), of rank 2r at most; for VeRA likewise. Under DoRA it has any
 * rank.
 */
import type { Rank, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../../api.ts';
import type { Network } from '../../models/network.ts';
import type { HostTensor, LinearLayer } from '../../models/types.ts';

/** A model whose values can be read, on either engine. */
export interface ModelWeights extends Pick<
  Network,
  'adapter' | 'architecture' | 'fileName' | 'linears' | 'parameters' | 'read'
> {
  /** Absent where the model is in PyTorch's process. */
  readonly frozen?: Network['frozen'];
}

/** The matrix P Qᵀ (m, n) as its factors P (m, k) and Q (n, k), row-major. */
interface ThinProduct {
  readonly P: Float64Array;
  readonly Q: Float64Array;
  readonly k: number;
}

export interface LayerChange {
  /** W_eff(end) − W_eff(start), (m, n), row-major. */
  readonly change: Float64Array;
  /** The change as P Qᵀ with k ≤ min(m, n); null where no such factors are known. */
  readonly thin: ThinProduct | null;
}

const readValues = async (network: ModelWeights, name: string): Promise<Float32Array> =>
  (await network.read(name)).data as Float32Array;
const readWeight = (network: ModelWeights, layer: LinearLayer): Promise<Float32Array> =>
  readValues(network, `${layer.name}.weight`);

/**
 * Returns the sum of the products P Qᵀ as one product, whose factors have all columns side by side.
 * P: (m, k), Q: (n, k) each.
 */
function hstack(parts: readonly ThinProduct[], m: number, n: number): ThinProduct {
  const k = parts.reduce((sum, part) => sum + part.k, 0);
  /** Returns the P or the Q of all products as one matrix of `length` rows. */
  const sideBySide = (of: (part: ThinProduct) => Float64Array, length: number): Float64Array => {
    const out = new Float64Array(length * k);
    let from = 0;
    for (const part of parts) {
      const values = of(part);
      for (let row = 0; row < length; row++)
        for (let q = 0; q < part.k; q++) out[row * k + from + q] = values[row * part.k + q]!;
      from += part.k;
    }
    return out;
  };
  return { P: sideBySide(({ P }) => P, m), Q: sideBySide(({ Q }) => Q, n), k };
}

const NO_COLUMNS: ThinProduct = { P: new Float64Array(0), Q: new Float64Array(0), k: 0 };

/** Returns s·B·A as P = s·B (m, r) and Q = Aᵀ (n, r); no columns where B is 0. A: (r, n). */
function scaledProduct(
  A: Float32Array,
  B: Float32Array,
  scale: number,
  m: number,
  n: number,
): ThinProduct {
  if (B.every((value) => value === 0)) return NO_COLUMNS;
  const k = B.length / m;
  return {
    P: Float64Array.from(B, (value) => scale * value),
    Q: Float64Array.from({ length: n * k }, (_, at) => A[(at % k) * n + Math.floor(at / k)]!),
    k,
  };
}

/**
 * Returns what an adapter adds to a layer's weight, before DoRA scales the rows of the sum: s·B·A,
 * or s·B·A − s·B₀·A₀ with fixed factors, or VeRA's product. Null where the adapter names neither
 * factors nor vectors of the layer.
 */
async function addedProduct(
  network: ModelWeights,
  { name, in: n, out: m }: LinearLayer,
): Promise<ThinProduct | null> {
  const { adapter } = network;
  const read = (parameter: string): Promise<Float32Array> => readValues(network, parameter);
  const names = adapter.factors(name);
  if (names !== null) {
    const { A, B, scale, fixed } = names;
    const own = scaledProduct(await read(A), await read(B), scale, m, n);
    return fixed === undefined
      ? own
      : hstack([own, scaledProduct(await read(fixed.A), await read(fixed.B), -scale, m, n)], m, n);
  }
  const vectors = adapter.vectors?.(name) ?? null;
  if (vectors === null) return null;
  const [A, B] = [await read(vectors.A), await read(vectors.B)],
    [d, b] = [await read(vectors.d), await read(vectors.b)];
  const r = d.length,
    width = A.length / r;
  if (b.every((value) => value === 0)) return NO_COLUMNS;
  // A layer reads the first m rows of B and the first n columns of A:
  // P = diag(b)·B (m, r), Q = (diag(d)·A)ᵀ (n, r).
  return {
    P: Float64Array.from({ length: m * r }, (_, at) => b[Math.floor(at / r)]! * B[at]!),
    Q: Float64Array.from(
      { length: n * r },
      (_, at) => d[at % r]! * A[(at % r) * width + Math.floor(at / r)]!,
    ),
    k: r,
  };
}

/**
 * Scales each row of W, in place, to the norm that DoRA gives it, and returns W. W: (m, n),
 * magnitudes: (m).
 */
function scaleToMagnitudes(W: Float64Array, magnitudes: Float32Array, n: number): Float64Array {
  magnitudes.forEach((magnitude, i) => {
    let squares = 0;
    for (let j = i * n; j < (i + 1) * n; j++) squares += W[j]! ** 2;
    const gain = magnitude / Math.sqrt(squares);
    for (let j = i * n; j < (i + 1) * n; j++) W[j]! *= gain;
  });
  return W;
}

/** Adds P Qᵀ to `out` (m, n), in place, and returns `out`. */
function addProduct(
  { P, Q, k }: ThinProduct,
  m: number,
  n: number,
  out: Float64Array,
): Float64Array {
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let q = 0; q < k; q++) sum += P[i * k + q]! * Q[j * k + q]!;
      out[i * n + j]! += sum;
    }
  }
  return out;
}

/**
 * Returns W_eff (m, n), found by applying the layer to the identity. This serves an adapter that
 * does not name what it adds. Throws UserFault under the backend torch.
 */
async function probeWeight(
  network: ModelWeights,
  { name, in: n, out: m }: LinearLayer,
): Promise<Float64Array> {
  const frozen = network.frozen?.bind(network);
  if (frozen === undefined)
    throw new UserFault(
      `the adapter does not say what it adds to ${name}.weight, which the backend torch needs`,
      'Run it on another backend: --backend tensorflow.',
    );
  const W = tf.tidy(() =>
    tf.transpose(
      network.adapter.linear(
        name,
        tf.eye(n),
        frozen(`${name}.weight`) as Tensor2D,
        tf.zeros<Rank.R1>([m]),
        { parameter: frozen },
      ),
    ),
  );
  try {
    return Float64Array.from(await W.data());
  } finally {
    W.dispose();
  }
}

/** Returns the weight that a layer multiplies by under its adapter, W_eff (m, n), row-major. */
export async function effectiveWeight(
  network: ModelWeights,
  layer: LinearLayer,
): Promise<Float64Array> {
  const { adapter } = network;
  const added = await addedProduct(network, layer);
  if (
    added === null &&
    adapter.targets.includes(layer.name) &&
    !adapter.trains(`${layer.name}.weight`)
  )
    return probeWeight(network, layer);
  const W = Float64Array.from(await readWeight(network, layer));
  if (added !== null) addProduct(added, layer.out, layer.in, W);
  const magnitude = adapter.factors(layer.name)?.magnitude;
  return magnitude === undefined
    ? W
    : scaleToMagnitudes(W, await readValues(network, magnitude), layer.in);
}

/** Returns W_eff(end) − W_eff(start) of one layer of two networks over the same model. */
export async function layerChange(
  start: ModelWeights,
  end: ModelWeights,
  layer: LinearLayer,
): Promise<LayerChange> {
  const { in: n, out: m } = layer;
  const [before, after] = [await addedProduct(start, layer), await addedProduct(end, layer)];
  const isThin = [start, end].every(
    ({ adapter }) => adapter.factors(layer.name)?.magnitude === undefined,
  );
  if (before !== null && after !== null && isThin) {
    const [W0, W] = [await readWeight(start, layer), await readWeight(end, layer)];
    if (W0.every((value, i) => value === W[i])) {
      // P₁Q₁ᵀ − P₂Q₂ᵀ = [P₁, −P₂][Q₁, Q₂]ᵀ
      const thin = hstack([after, { ...before, P: before.P.map((value) => -value) }], m, n);
      return {
        change: addProduct(thin, m, n, new Float64Array(m * n)),
        thin: thin.k <= Math.min(m, n) ? thin : null,
      };
    }
  }
  const W0 = await effectiveWeight(start, layer);
  return {
    change: (await effectiveWeight(end, layer)).map((value, i) => value - W0[i]!),
    thin: null,
  };
}

/**
 * Returns the model's parameters by canonical name, with the adapter merged into the weights: W +
 * s·B·A where LoRA adapts a layer. Products and sums are in double precision and rounded once.
 */
export async function mergedParameters(network: ModelWeights): Promise<Map<string, HostTensor>> {
  const { adapter, linears } = network;
  const own = new Set(adapter.parameters.map(({ name }) => name));
  const adapted = new Map(
    adapter.parameters.length === 0
      ? []
      : linears
          .filter(({ name }) => adapter.targets.includes(name))
          .map((layer) => [`${layer.name}.weight`, layer]),
  );
  const merged = new Map<string, HostTensor>();
  for (const { name, shape } of network.parameters) {
    if (own.has(name)) continue;
    const layer = adapted.get(name);
    const data =
      layer === undefined
        ? await readValues(network, name)
        : Float32Array.from(await effectiveWeight(network, layer));
    merged.set(name, { shape, data });
  }
  return merged;
}
