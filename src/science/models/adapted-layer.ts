/** Linear layers under LoRA, in all its forms, and under VeRA; and their merged weights. */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { add, differentiable, markConstant } from '../../tensor/differentiable.ts';
import { matmul } from '../../tensor/products.ts';
import type { Adapter, FactorNames, ParameterLookup } from './adapter.ts';
import { biased, biasedSum, linear, loraLinear, lowRank, masked } from './linear.ts';
import type { LinearLayer } from './types.ts';

// (k) → (1, k), and (k) → (k, 1)
const asRow = (vector: Tensor): Tensor2D => tf.reshape(vector, [1, -1]),
  asColumn = (vector: Tensor): Tensor2D => tf.reshape(vector, [-1, 1]);

/** A product s·B·A with A (r, n), B (m, r) and scale s. */
interface Product {
  readonly A: Tensor2D;
  readonly B: Tensor2D;
  readonly scale: number;
}

/** Returns W + Σ s·B·A over `products`, (m, n). Call it inside a tidy. */
export const adaptedWeight = (W: Tensor2D, products: readonly Product[]): Tensor2D =>
  products.reduce<Tensor2D>((sum, { A, B, scale }) => tf.add(sum, tf.mul(matmul(B, A), scale)), W);

/** Returns the L2 norm of each row of W + Σ s·B·A over `products`, (m). Call it inside a tidy. */
export const rowNorms = (W: Tensor2D, products: readonly Product[]): Tensor1D =>
  tf.sqrt(tf.sum(tf.square(adaptedWeight(W, products)), 1));

/**
 * Applies DoRA's magnitudes g (Liu et al. 2024, DoRA: Weight-Decomposed Low-Rank Adaptation, eq.
 * 5), as PEFT does: W' = diag(g/‖V‖)·V with V the adapted weight and ‖V‖ the L2 norms of its rows,
 * one for each of the m outputs. The norms count as constants in the gradient (section 4.3 there).
 *
 * y = (g/‖V‖) ∘ v + b, with v = x Vᵀ. v: (S, m), magnitude g: (m), b: (m) → (S, m).
 *
 *     dv = (g/‖V‖) ∘ dy;  dg = Σ_S dy ∘ v / ‖V‖;  db = Σ_S dy
 *
 * @param norms computes ‖V‖, (m)
 */
function magnified(
  v: Tensor2D,
  magnitude: Tensor1D,
  b: Tensor1D | null,
  norms: () => Tensor1D,
): Tensor2D {
  return differentiable([v, magnitude, b], {
    forward: () => {
      const norm = norms();
      const gain = asRow(tf.div(magnitude, norm));
      return { value: biased(tf.mul(v, gain), b), saved: [v, magnitude, norm] };
    },
    backward: (dy, [unscaled, g, norm], needs) => [
      needs[0] ? tf.mul(dy, asRow(tf.div(g, norm))) : null,
      needs[1] ? tf.div(tf.sum(tf.mul(dy, unscaled), 0), norm) : null,
      needs[2] ? tf.sum(dy, 0) : null,
    ],
  });
}

/**
 * Returns the products that are added to a layer's weight: s·B·A and, if there are fixed factors,
 * −s·B₀·A₀.
 */
export function productsOf(
  { A, B, scale, fixed }: FactorNames,
  parameter: ParameterLookup,
): readonly [trained: Product, ...fixed: Product[]] {
  const product = (a: string, b: string, s: number): Product => ({
    A: parameter(a) as Tensor2D,
    B: parameter(b) as Tensor2D,
    scale: s,
  });
  return fixed === undefined
    ? [product(A, B, scale)]
    : [product(A, B, scale), product(fixed.A, fixed.B, -scale)];
}

/**
 * A linear layer under LoRA: y = x W'ᵀ + b with W' = V = W + s·B·A − s·B₀·A₀ or, under DoRA with
 * magnitudes g, W' = diag(g/‖V‖)·V. x: (S, n), W: (m, n), b: (m) → (S, m).
 * @param mask dropout's mask of the input of A, (S, n). Under DoRA, as in PEFT, y = x W₀ᵀ + b +
 *   (x ⊙ mask) (W' − W₀)ᵀ with W₀ = W − s·B₀·A₀
 */
export function factoredLinear(
  x: Tensor2D,
  W: Tensor2D,
  b: Tensor1D | null,
  names: FactorNames,
  parameter: ParameterLookup,
  mask?: Tensor2D,
): Tensor2D {
  const products = productsOf(names, parameter);
  const [{ A, B, scale }, fixed] = products;
  /** Returns y − input·(s·B₀·A₀)ᵀ; y itself if there are no fixed factors. */
  const minusFixed = (y: Tensor2D, input: Tensor2D): Tensor2D =>
    fixed === undefined ? y : add(y, lowRank(input, fixed.A, fixed.B, fixed.scale));
  if (names.magnitude === undefined) return minusFixed(loraLinear(x, W, b, A, B, scale, mask), x);
  const magnitude = parameter(names.magnitude) as Tensor1D;
  /** ‖V‖, (m) */
  const norms = (): Tensor1D => rowNorms(W, products);
  if (mask === undefined)
    return magnified(minusFixed(loraLinear(x, W, null, A, B, scale), x), magnitude, b, norms);
  const dropped = tf.mul<Tensor2D>(x, mask);
  const frozen = minusFixed(linear(dropped, W, null), dropped),
    adapted = add(frozen, lowRank(dropped, A, B, scale));
  return add(
    minusFixed(linear(x, W, b), x),
    tf.sub<Tensor2D>(magnified(adapted, magnitude, null, norms), frozen),
  );
}

/** VeRA's factors A (r, ≥ n) and B (≥ m, r), which all layers share. */
type SharedFactors = Omit<Product, 'scale'>;

/** The part of the shared factors that a layer n → m reads: A (r, n), B (m, r). */
export const sharedPart = ({ A, B }: SharedFactors, n: number, m: number): SharedFactors => ({
  A: A.shape[1] === n ? A : tf.slice(A, [0, 0], [A.shape[0], n]),
  B: B.shape[0] === m ? B : tf.slice(B, [0, 0], [m, B.shape[1]]),
});

/**
 * VeRA's linear layer (Kopiczko et al. 2024, VeRA: Vector-based Random Matrix Adaptation, eq. 2):
 * y = x Wᵀ + bias + b ∘ ((d ∘ (x̃ Aᵀ)) Bᵀ) with x̃ = x ⊙ mask under dropout, else x.
 * x: (S, n), W: (m, n), bias: (m), d: (r), b: (m), mask: (S, n) → (S, m).
 *
 *     u = (b ∘ dy) B (S, r);  dx = dy W + ((d ∘ u) A) ⊙ mask
 *     dd = Σ_S u ∘ (x̃ Aᵀ);  db = Σ_S dy ∘ ((d ∘ (x̃ Aᵀ)) Bᵀ)
 */
export function veraLinear(
  x: Tensor2D,
  W: Tensor2D,
  bias: Tensor1D | null,
  shared: SharedFactors,
  d: Tensor1D,
  b: Tensor1D,
  mask?: Tensor2D,
): Tensor2D {
  const [m, n] = W.shape;
  return differentiable([x, W, bias, d, b], {
    forward: () => {
      const { A, B } = sharedPart(shared, n, m);
      const down = matmul(masked(x, mask), A, false, true); // (S, r)
      const up = matmul(tf.mul<Tensor2D>(down, asRow(d)), B, false, true); // (S, m)
      const base = matmul(x, W, false, true); // (S, m)
      return {
        value: biasedSum(base, bias, tf.mul<Tensor2D>(up, asRow(b))), // (S, m)
        saved: [x, W, A, B, d, b, down, up, ...(mask === undefined ? [] : [mask])],
      };
    },
    // `vd` and `vb` are the saved vectors d and b.
    backward: (dy, [input, weight, A, B, vd, vb, down, up, kept], needs) => {
      const u = needs[0] || needs[3] ? matmul(tf.mul<Tensor2D>(dy, asRow(vb)), B) : null;
      return [
        u !== null && needs[0]
          ? tf.add(matmul(dy, weight), masked(matmul(tf.mul<Tensor2D>(u, asRow(vd)), A), kept))
          : null,
        needs[1] ? matmul(dy, input, true, false) : null,
        needs[2] ? tf.sum(dy, 0) : null,
        u !== null && needs[3] ? tf.sum(tf.mul(u, down), 0) : null,
        needs[4] ? tf.sum(tf.mul(dy, up), 0) : null,
      ];
    },
  });
}

/** The most bytes that merged weights may take. A layer that would exceed them is not merged. */
const LIMIT = 512 * 2 ** 20;

export interface MergedWeights {
  /** By layer. A layer without an entry is computed by the adapter. */
  readonly weights: ReadonlyMap<string, Tensor2D>;
  /** Disposes of the weights that are not the model's own. */
  dispose(): void;
}

export const isZero = (x: Tensor): boolean => x.dataSync<'float32'>().every((value) => value === 0);

/** Returns what `make` computes, marked as a constant. The caller disposes of it. */
const makeConstant = (make: () => Tensor2D): Tensor2D => markConstant(tf.keep(tf.tidy(make)));

/**
 * Returns a layer's weight with what the adapter adds, (m, n), as a new tensor. Returns W itself if
 * VeRA's b is zero, or if there is no DoRA and LoRA's B and B₀ are zero. Returns null if the
 * adapter names neither factors nor vectors at this layer.
 */
function mergedWeight(
  adapter: Adapter,
  { name, in: n, out: m }: LinearLayer,
  parameter: ParameterLookup,
): Tensor2D | null {
  const W = parameter(`${name}.weight`) as Tensor2D;
  const factors = adapter.factors(name),
    vectors = adapter.vectors?.(name) ?? null;
  if (factors !== null) {
    const products = productsOf(factors, parameter);
    const { magnitude } = factors;
    if (magnitude !== undefined)
      return makeConstant(() => {
        const gain = tf.div<Tensor1D>(parameter(magnitude), rowNorms(W, products));
        return tf.mul(adaptedWeight(W, products), asColumn(gain));
      });
    return products.every(({ B }) => isZero(B))
      ? W
      : makeConstant(() => adaptedWeight(W, products));
  }
  if (vectors === null) return null;
  const b = parameter(vectors.b) as Tensor1D,
    d = parameter(vectors.d) as Tensor1D;
  if (isZero(b)) return W;
  return makeConstant(() => {
    const { A, B } = sharedPart(
      { A: parameter(vectors.A) as Tensor2D, B: parameter(vectors.B) as Tensor2D },
      n,
      m,
    );
    return tf.add(W, matmul(tf.mul(B, asColumn(b)), tf.mul(A, asColumn(d))));
  });
}

/**
 * Merges the weights of the layers that the adapter targets, in forward order. Leaves out layers
 * that have neither factors nor vectors, and each layer with which the new weights would exceed
 * `limit` bytes. In a pass that trains nothing, a merged layer takes one matrix product. The passes
 * of kernels train nothing: they differentiate by the layers' outputs.
 */
export function mergedWeights(
  adapter: Adapter,
  linears: readonly LinearLayer[],
  parameter: ParameterLookup,
  limit = LIMIT,
): MergedWeights {
  const weights = new Map<string, Tensor2D>(),
    made: Tensor2D[] = [];
  let bytes = 0;
  for (const layer of linears) {
    if (!adapter.targets.includes(layer.name) || bytes + 4 * layer.in * layer.out > limit) continue;
    const merged = mergedWeight(adapter, layer, parameter);
    if (merged === null) continue;
    weights.set(layer.name, merged);
    if (merged === parameter(`${layer.name}.weight`)) continue;
    made.push(merged);
    bytes += 4 * merged.size;
  }
  return {
    weights,
    dispose: () => {
      made.forEach((tensor) => tensor.dispose());
    },
  };
}
