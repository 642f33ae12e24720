/** The norms of a description, with the parameters that their names stand for. */
import type { Rank, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { Norm } from '../../families/description.ts';
import { at } from '../lookup.ts';
import type { ForwardContext, TokenMap } from '../model/types.ts';
import { add } from '../tensor/differentiable.ts';
import { addLayerNorm, layerNorm, rmsNorm, scaleNorm } from './layer-norm.ts';

/** x normalised. x: (S, h), whose rows belong to `tokens` → (S, h). */
export function normalised(
  { name, kind, epsilon, bias = kind === 'layer', offset }: Norm,
  x: Tensor2D,
  tokens: TokenMap,
  { parameter, vectorTap }: ForwardContext,
): Tensor2D {
  const gamma = parameter(`${name}.weight`) as Tensor1D;
  const plain = (): Tensor2D => {
    if (kind === 'rms') return rmsNorm(x, gamma, epsilon, offset);
    return bias
      ? layerNorm(x, gamma, parameter(`${name}.bias`) as Tensor1D, epsilon)
      : scaleNorm(x, gamma, epsilon);
  };
  return vectorTap === undefined ? plain() : vectorTap(name, () => x, plain(), tokens);
}

/** The norm of x + residual. */
export function addNormalised(
  norm: Norm,
  x: Tensor2D,
  residual: Tensor2D,
  tokens: TokenMap,
  context: ForwardContext,
): Tensor2D {
  const { name, kind, epsilon, bias = kind === 'layer' } = norm;
  if (kind === 'rms' || !bias) return normalised(norm, add(x, residual), tokens, context);
  const { parameter, vectorTap } = context;
  const y = addLayerNorm(
    x,
    residual,
    parameter(`${name}.weight`) as Tensor1D,
    parameter(`${name}.bias`) as Tensor1D,
    epsilon,
  );
  return vectorTap === undefined ? y : vectorTap(name, () => add(x, residual), y, tokens);
}

/** The norm of each head's features, (d). x: (S, H·d), whose rows belong to `tokens` → (S, H·d). */
export function headNormalised(
  norm: Norm,
  x: Tensor2D,
  heads: number,
  { batch, example }: TokenMap,
  context: ForwardContext,
): Tensor2D {
  const [S, n] = x.shape;
  const rows = tf.reshape<Rank.R2>(x, [S * heads, n / heads]);
  const ofHeads = (): Int32Array =>
    Int32Array.from({ length: S * heads }, (_, i) => at(example, Math.floor(i / heads)));
  // Nothing but a tap asks whose a row is.
  const map = { batch, example: context.vectorTap === undefined ? example : ofHeads() };
  return tf.reshape(normalised(norm, rows, map, context), [S, n]);
}
