/** The norms of a description, with the parameters that their names stand for. */
import type { Rank, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../base/lookup.ts';
import { add } from '../../tensor/differentiable.ts';
import type { Norm } from './families/description.ts';
import { addNorm } from './layer-norm.ts';
import type { ForwardContext, TokenMap } from './types.ts';

/** The norm of x, or of x + residual. x: (S, h), whose rows belong to `tokens` → (S, h). */
function normOf(
  { name, kind, epsilon, bias = kind === 'layer', offset = false }: Norm,
  x: Tensor2D,
  residual: Tensor2D | null,
  tokens: TokenMap,
  { parameter, vectorTap }: ForwardContext,
): Tensor2D {
  const gamma = parameter(`${name}.weight`) as Tensor1D,
    beta = bias ? (parameter(`${name}.bias`) as Tensor1D) : null;
  const y = addNorm(x, residual, gamma, beta, { centred: kind === 'layer', offset }, epsilon);
  if (vectorTap === undefined) return y;
  return vectorTap(name, () => (residual === null ? x : add(x, residual)), y, tokens);
}

/** x normalised. x: (S, h), whose rows belong to `tokens` → (S, h). */
export const normalised = (
  norm: Norm,
  x: Tensor2D,
  tokens: TokenMap,
  context: ForwardContext,
): Tensor2D => normOf(norm, x, null, tokens, context);

/** The norm of x + residual. */
export const addNormalised = (
  norm: Norm,
  x: Tensor2D,
  residual: Tensor2D,
  tokens: TokenMap,
  context: ForwardContext,
): Tensor2D => normOf(norm, x, residual, tokens, context);

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
