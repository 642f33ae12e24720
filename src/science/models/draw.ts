/** Initial values of parameters that no checkpoint provides. */
import { randomStream } from '../../base/random.ts';
import type { HostTensor, ParameterSpec } from './types.ts';

/**
 * Initialises a parameter as transformers does: weights are drawn from N(0, range²), each from its
 * own stream (seed, purpose, name); biases are 0, scales of norms 1, and the padding row of a table
 * 0.
 */
export function drawParameter(
  { name, shape, draw }: ParameterSpec,
  range: number,
  seed: number,
  purpose: 'head' | 'init',
): HostTensor {
  const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
  if (draw !== undefined && 'fill' in draw) return { shape, data: data.fill(draw.fill) };
  const [, width] = shape;
  if (width !== undefined) {
    const stream = randomStream(seed, purpose, name);
    for (let i = 0; i < data.length; i++) data[i] = stream.normal() * range;
    if (draw !== undefined) data.fill(0, draw.zeroRow * width, (draw.zeroRow + 1) * width);
  }
  return { shape, data };
}
