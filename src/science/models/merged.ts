/**
 * A layer's weight with what its adapter adds, so that a pass which trains nothing multiplies once.
 * The passes of kernels do: their derivatives are with respect to a layer's output.
 */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { markConstant } from '../../tensor/differentiable.ts';
import { matmul } from '../../tensor/matmul.ts';
import type { Adapter, ParameterLookup } from './adapter.ts';
import { productsOf } from './lora-layer.ts';
import { adaptedWeight, rowNorms } from './magnitude.ts';
import type { LinearLayer } from './types.ts';
import { sharedPart } from './vectors.ts';

/** The memory of merged weights in bytes; the layers beyond it keep their factors apart. */
const LIMIT = 512 * 2 ** 20;

export interface MergedWeights {
  /** By layer; layers that are not here are computed by their adapter. */
  readonly weights: ReadonlyMap<string, Tensor2D>;
  /** Disposes of the weights that are not the model's own. */
  dispose(): void;
}

const isZero = (x: Tensor): boolean => x.dataSync<'float32'>().every((value) => value === 0);

/** A new constant, which the caller disposes of. */
const kept = (make: () => Tensor2D): Tensor2D => markConstant(tf.keep(tf.tidy(make)));

const column = (x: Tensor1D): Tensor2D => tf.reshape(x, [-1, 1]);

/**
 * The weight that a layer multiplies by, (m, n): W itself where the adapter adds nothing yet; null
 * where it does not say what it adds.
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
      return kept(() => {
        const gain = tf.div<Tensor1D>(parameter(magnitude), rowNorms(W, products));
        return tf.mul(adaptedWeight(W, products), column(gain));
      });
    return products.every(({ B }) => isZero(B)) ? W : kept(() => adaptedWeight(W, products));
  }
  if (vectors === null) return null;
  const b = parameter(vectors.b) as Tensor1D,
    d = parameter(vectors.d) as Tensor1D;
  if (isZero(b)) return W;
  return kept(() => {
    const { A, B } = sharedPart(
      { A: parameter(vectors.A) as Tensor2D, B: parameter(vectors.B) as Tensor2D },
      n,
      m,
    );
    return tf.add(W, matmul(tf.mul(B, column(b)), tf.mul(A, column(d))));
  });
}

/** Merges the layers that the adapter targets, in forward order. */
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
