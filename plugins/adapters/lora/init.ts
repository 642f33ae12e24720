/**
 * The initial values of LoRA's A: unit draws scaled by σ, so that runs that differ only in rank or
 * variance share their draws. A variance is σ², never σ, and d is the fan-in of the layer.
 */
import { UserFault } from '../../../src/api.ts';
import { randomStream } from '../../../src/base/random.ts';
import type { HostTensor } from '../../../src/science/models/types.ts';
import { fractionOfFanIn } from './variance.ts';

export type Distribution = 'uniform' | 'normal' | 'kaiming-uniform' | 'xavier' | 'gaussian';

/** Whether A is drawn from this distribution, and not taken from the weights (lora-residual.ts). */
export const isDrawn = (distribution: string): distribution is Distribution =>
  Object.hasOwn(presets, distribution);

interface Preset {
  readonly shape: 'uniform' | 'normal';
  /** σ² for fan-in n and rank r. */
  readonly variance: (n: number, r: number) => number;
}

/**
 * `uniform` and `normal` have PEFT's default variance, the others that of the initialiser they
 * name.
 */
export const presets: Readonly<Record<Distribution, Preset>> = {
  uniform: { shape: 'uniform', variance: (n) => 1 / (3 * n) },
  normal: { shape: 'normal', variance: (n) => 1 / (3 * n) },
  // U(±√(6/((1+a²)n))) with a = √5, PEFT's default: variance 1/(3n)
  'kaiming-uniform': { shape: 'uniform', variance: (n) => 1 / (3 * n) },
  // U(±√(6/(n+r))): variance 2/(n+r)
  xavier: { shape: 'uniform', variance: (n, r) => 2 / (n + r) },
  // PEFT's init_lora_weights="gaussian": N(0, 1/r²)
  gaussian: { shape: 'normal', variance: (_n, r) => 1 / (r * r) },
};

/**
 * Reads σ² for a layer of fan-in d from a number, `k/d` or `k/(j d)`. Null for any other
 * text and for values that are not positive.
 */
export function parseVariance(text: number | string, d: number): number | null {
  const fraction = typeof text === 'string' ? fractionOfFanIn(text) : null;
  const value =
    fraction === null
      ? typeof text === 'string' && text.trim() === ''
        ? NaN
        : Number(text)
      : fraction.k / (fraction.j * d);
  return Number.isFinite(value) && value > 0 ? value : null;
}

/** σ² of a layer's A. Throws UserFault where the variance cannot be read. */
export function initialVariance(
  init: { readonly distribution: Distribution; readonly variance?: number | string },
  n: number,
  r: number,
): number {
  if (init.variance === undefined) return presets[init.distribution].variance(n, r);
  const value = parseVariance(init.variance, n);
  if (value === null)
    throw new UserFault(
      `the variance "${init.variance}" is neither a positive number nor k/d`,
      'Write a number, "1/d", "2/d" or "1/(3d)".',
    );
  return value;
}

/**
 * A = σ · unit draws, (r, n), row after row from stream (seed, 'lora_A', layer): the rows of a
 * lower rank are the first rows of a higher one.
 */
export function drawA(
  layer: string,
  n: number,
  r: number,
  shape: 'uniform' | 'normal',
  variance: number,
  seed: number,
): HostTensor {
  const stream = randomStream(seed, 'lora_A', layer);
  const sigma = Math.sqrt(variance);
  const unit =
    shape === 'normal' ? () => stream.normal() : () => Math.sqrt(3) * (2 * stream.uniform() - 1);
  return { shape: [r, n], data: Float32Array.from({ length: r * n }, () => unit() * sigma) };
}
