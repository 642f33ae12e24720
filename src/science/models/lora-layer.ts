/** A linear layer under low-rank factors, in each of their forms: LoRA, PiSSA and OLoRA, DoRA. */
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { add } from '../../tensor/differentiable.ts';
import type { FactorNames, ParameterLookup } from './adapter.ts';
import { linear, loraLinear, lowRank } from './linear.ts';
import { magnified, type Product, rowNorms } from './magnitude.ts';

/** The products that are added to a layer's weight, the trained one first. */
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
