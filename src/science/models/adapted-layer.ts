/** A linear layer under LoRA, in each of its forms, or VeRA, and its merged weight. */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { add, differentiable, markConstant } from '../../tensor/differentiable.ts';
import { matmul } from '../../tensor/products.ts';
import type { Adapter, FactorNames, ParameterLookup } from './adapter.ts';
import { biased, biasedSum, linear, loraLinear, lowRank, masked } from './linear.ts';
import type { LinearLayer } from './types.ts';

const asRow = (vector: Tensor): Tensor2D => tf.reshape(vector, [1, -1]),
  asColumn = (vector: Tensor): Tensor2D => tf.reshape(vector, [-1, 1]);

/** s·B·A: A (r, n), B (m, r). */
interface Product {
  readonly A: Tensor2D;
  readonly B: Tensor2D;
  readonly scale: number;
}

/** W + Σ s·B·A, (m, n). Call it inside a tidy. */
export const adaptedWeight = (W: Tensor2D, products: readonly Product[]): Tensor2D =>
  products.reduce<Tensor2D>((sum, { A, B, scale }) => tf.add(sum, tf.mul(matmul(B, A), scale)), W);

/** The norm of each row of W + Σ s·B·A, (m). Call it inside a tidy. */
export const rowNorms = (W: Tensor2D, products: readonly Product[]): Tensor1D =>
  tf.sqrt(tf.sum(tf.square(adaptedWeight(W, products)), 1));

/**
 * DoRA's magnitudes (Liu et al. 2024, DoRA: Weight-Decomposed Low-Rank Adaptation, eq. 5), as PEFT
 * computes them: W' = diag(m/‖V‖)·V with V the adapted weight and ‖V‖ the norms of its rows, one
 * for each output, which count as constants in the gradient (section 4.3 there).
 *
 * y = (m/‖V‖) ∘ v + b, with v = x Vᵀ. v: (S, m), magnitude: (m), b: (m) → (S, m).
 *
 *     dv = (m/‖V‖) ∘ dy;  dm = Σ_S dy ∘ v / ‖V‖;  db = Σ_S dy
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
    backward: (dy, [unscaled, m, norm], needs) => [
      needs[0] ? tf.mul(dy, asRow(tf.div(m, norm))) : null,
      needs[1] ? tf.div(tf.sum(tf.mul(dy, unscaled), 0), norm) : null,
      needs[2] ? tf.sum(dy, 0) : null,
    ],
  });
}

/** Returns the products that are added to a layer's weight: s·B·A and, if it is there, −s·B₀·A₀. */
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
 * y = x W'ᵀ + b with W' = W + s·B·A − s·B₀·A₀, or diag(m/‖W'‖)·W' under DoRA. x: (S, n), W: (m, n),
 * b: (m) → (S, m).
 * @param mask dropout of the input of A; under DoRA, as in PEFT, of the input of all that the
 * magnitudes add. (S, n)
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
  /** Returns y, less what s·B₀·A₀ makes of the input if there is such a product. */
  const minusFixed = (y: Tensor2D, input: Tensor2D): Tensor2D =>
    fixed === undefined ? y : add(y, lowRank(input, fixed.A, fixed.B, fixed.scale));
  if (names.magnitude === undefined) return minusFixed(loraLinear(x, W, b, A, B, scale, mask), x);
  const magnitude = parameter(names.magnitude) as Tensor1D;
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
    backward: (dy, [input, weight, A, B, dd, bb, down, up, kept], needs) => {
      const u = needs[0] || needs[3] ? matmul(tf.mul<Tensor2D>(dy, asRow(bb)), B) : null;
      return [
        u !== null && needs[0]
          ? tf.add(matmul(dy, weight), masked(matmul(tf.mul<Tensor2D>(u, asRow(dd)), A), kept))
          : null,
        needs[1] ? matmul(dy, input, true, false) : null,
        needs[2] ? tf.sum(dy, 0) : null,
        u !== null && needs[3] ? tf.sum(tf.mul(u, down), 0) : null,
        needs[4] ? tf.sum(tf.mul(dy, up), 0) : null,
      ];
    },
  });
}

/** The most bytes of merged weights. Further layers are not merged. */
const LIMIT = 512 * 2 ** 20;

export interface MergedWeights {
  /** By layer; layers that are not here are computed by their adapter. */
  readonly weights: ReadonlyMap<string, Tensor2D>;
  /** Disposes of the weights that are not the model's own. */
  dispose(): void;
}

export const isZero = (x: Tensor): boolean => x.dataSync<'float32'>().every((value) => value === 0);

/** A new constant, which the caller disposes of. */
const makeConstant = (make: () => Tensor2D): Tensor2D => markConstant(tf.keep(tf.tidy(make)));

/** W + what the adapter adds, (m, n); W itself if that is 0, null if the adapter does not tell. */
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
 * Returns the merged weights of the layers that the adapter targets, in forward order up to `limit`
 * bytes. With them a pass that trains nothing multiplies once in a layer; the passes of kernels are
 * such passes, since they differentiate by the layers' outputs.
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
