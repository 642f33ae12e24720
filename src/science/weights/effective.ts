/**
 * Effective weights on the host, in double precision: the matrix that a layer multiplies by, in
 * whatever form the adapter keeps it, and how far training moved it: ΔW = W_eff(t) − W_eff(0). For
 * LoRA that is s(BA − B₀A₀), of rank 2r at most.
 */
import type { Rank, Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { LinearLayer } from '../model/types.ts';
import type { Network } from '../nn/network.ts';

/** P Qᵀ: P (m, k), Q (n, k), row-major. */
export interface ThinProduct {
  readonly P: Float64Array;
  readonly Q: Float64Array;
  readonly k: number;
}

export interface LayerChange {
  /** (m, n), row-major. */
  readonly change: Float64Array;
  /** The same as thin factors, where start and end share the frozen weight. */
  readonly thin: ThinProduct | null;
}

const host = async (tensor: Tensor): Promise<Float32Array> => (await tensor.data()) as Float32Array;
const weightOf = (network: Network, layer: LinearLayer): Tensor =>
  network.frozen(`${layer.name}.weight`);

/**
 * Returns s·B and Aᵀ, both as columns, without any column where B is zero. Null where the layer has
 * no factors.
 */
async function factorsOf(
  network: Network,
  { name, in: n, out: m }: LinearLayer,
): Promise<ThinProduct | null> {
  const names = network.adapter.factors(name);
  if (names === null) return null;
  // (r, n), (m, r)
  const [A, B] = await Promise.all([host(network.frozen(names.A)), host(network.frozen(names.B))]);
  if (B.every((value) => value === 0))
    return { P: new Float64Array(0), Q: new Float64Array(0), k: 0 };
  const k = B.length / m;
  return {
    P: Float64Array.from(B, (value) => names.scale * value),
    Q: Float64Array.from({ length: n * k }, (_, at) => A[(at % k) * n + Math.floor(at / k)]!),
    k,
  };
}

/** Adds P Qᵀ to `out`, (m, n). */
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

/** P₁Q₁ᵀ − P₂Q₂ᵀ = [P₁, −P₂][Q₁, Q₂]ᵀ. */
function minus(a: ThinProduct, b: ThinProduct, m: number, n: number): ThinProduct {
  const k = a.k + b.k;
  const side = (
    left: Float64Array,
    right: Float64Array,
    length: number,
    sign: number,
  ): Float64Array =>
    Float64Array.from({ length: length * k }, (_, at) => {
      const row = Math.floor(at / k),
        q = at % k;
      return q < a.k ? left[row * a.k + q]! : sign * right[row * b.k + q - a.k]!;
    });
  return { P: side(a.P, b.P, m, -1), Q: side(a.Q, b.Q, n, 1), k };
}

/** The layer applied to the identity, I W_effᵀ: for adapters that are not a product of factors. */
async function probed(
  network: Network,
  { name, in: n, out: m }: LinearLayer,
): Promise<Float64Array> {
  const W = tf.tidy(() =>
    tf.transpose(
      network.adapter.linear(
        name,
        tf.eye(n),
        network.frozen(`${name}.weight`) as Tensor2D,
        tf.zeros<Rank.R1>([m]),
        { parameter: (parameter) => network.frozen(parameter) },
      ),
    ),
  );
  try {
    return Float64Array.from(await host(W));
  } finally {
    W.dispose();
  }
}

/** Returns W_eff (m, n), row-major. */
export async function effectiveWeight(network: Network, layer: LinearLayer): Promise<Float64Array> {
  const { adapter } = network;
  if (
    adapter.factors(layer.name) === null &&
    adapter.targets.includes(layer.name) &&
    !adapter.trains(`${layer.name}.weight`)
  )
    return probed(network, layer);
  const W = Float64Array.from(await host(weightOf(network, layer)));
  const factors = await factorsOf(network, layer);
  return factors === null ? W : addProduct(factors, layer.out, layer.in, W);
}

/** Returns W_eff(end) − W_eff(start) of one layer of two networks over the same model. */
export async function layerChange(
  start: Network,
  end: Network,
  layer: LinearLayer,
): Promise<LayerChange> {
  const { in: n, out: m } = layer;
  const [before, after] = [await factorsOf(start, layer), await factorsOf(end, layer)];
  if (before !== null && after !== null) {
    const [W0, W] = [weightOf(start, layer), weightOf(end, layer)];
    // Two networks over one checkpoint share its tensors.
    const shared =
      W0 === W ||
      (await host(W0)).every(
        (
          (other) => (value, i) =>
            value === other[i]
        )(await host(W)),
      );
    if (shared) {
      const thin = minus(after, before, m, n);
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
