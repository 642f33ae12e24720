/** The norms of a description, with the parameters that their names stand for. */
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import type { Norm } from '../../families/description.ts';
import type { ForwardContext } from '../model/types.ts';
import { add } from '../tensor/differentiable.ts';
import { addLayerNorm, layerNorm, rmsNorm, scaleNorm } from './layer-norm.ts';

/** x normalised. x: (S, h) → (S, h). */
export function normalised(
  { name, kind, epsilon, bias = kind === 'layer', offset }: Norm,
  x: Tensor2D,
  { parameter }: ForwardContext,
): Tensor2D {
  const gamma = parameter(`${name}.weight`) as Tensor1D;
  if (kind === 'rms') return rmsNorm(x, gamma, epsilon, offset);
  return bias
    ? layerNorm(x, gamma, parameter(`${name}.bias`) as Tensor1D, epsilon)
    : scaleNorm(x, gamma, epsilon);
}

/** The norm of x + residual. */
export function addNormalised(
  norm: Norm,
  x: Tensor2D,
  residual: Tensor2D,
  context: ForwardContext,
): Tensor2D {
  const { name, kind, epsilon, bias = kind === 'layer' } = norm;
  if (kind === 'rms' || !bias) return normalised(norm, add(x, residual), context);
  return addLayerNorm(
    x,
    residual,
    context.parameter(`${name}.weight`) as Tensor1D,
    context.parameter(`${name}.bias`) as Tensor1D,
    epsilon,
  );
}
