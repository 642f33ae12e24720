/** How parameters start that no checkpoint gives. */
import { randomStream } from '../../random/random.ts';
import type { HostTensor, ParameterSpec } from './types.ts';

/**
 * As transformers initialises a module: weights from N(0, range²), each from its own stream (seed, purpose, name); biases
 * 0, scales of norms 1, the padding row of a table 0.
 */
export function drawParameter(
  { name, shape, draw }: ParameterSpec,
  range: number,
  seed: number,
  purpose: 'head' | 'init',
): HostTensor {
  const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
  if (draw !== undefined && 'fill' in draw) return { shape, data: data.fill(draw.fill) };
  if (shape.length > 1) {
    const stream = randomStream(seed, purpose, name);
    for (let i = 0; i < data.length; i++) data[i] = stream.normal() * range;
    if (draw !== undefined) data.fill(0, draw.zeroRow * shape[1]!, (draw.zeroRow + 1) * shape[1]!);
  }
  return { shape, data };
}
