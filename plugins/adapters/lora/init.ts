/**
 * LoRA's α and the variance of its initial A, as a spec writes them; and the draws of A. A is drawn
 * with variance 1 and then scaled by σ, so that runs that differ only in rank or variance share
 * draws. A variance is σ², never σ, and d is the fan-in of the layer. Planning loads this file,
 * which must import no numerics.
 */
import { type Json, type JsonObject, UserFault } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { randomStream } from '../../../src/base/random.ts';
import type { HostTensor } from '../../../src/science/models/types.ts';

/** Matches a multiple of the rank, which a spec may write as α: `r`, `2r`, `0.5r`, `3r/2`. */
export const ALPHA_OF_RANK =
  '^([1-9][0-9]*(\\.[0-9]+)?|0?\\.[0-9]*[1-9][0-9]*)?r(/[1-9][0-9]*(\\.[0-9]+)?)?$';

/**
 * Returns α as a number: a number as it is, and a multiple of the rank (`2r`) for a layer of this
 * rank. Throws for any other text.
 */
export function parseAlpha(alpha: number | string, rank: number): number {
  if (typeof alpha === 'number') return alpha;
  if (!new RegExp(ALPHA_OF_RANK).test(alpha))
    throw new Error(`alpha is not a multiple of r: ${alpha}`);
  const [factor, divisor = '1'] = alpha.split(/r\/?/);
  return ((factor === '' ? 1 : Number(factor)) * rank) / (divisor === '' ? 1 : Number(divisor));
}

export type Distribution = 'uniform' | 'normal' | 'kaiming-uniform' | 'xavier' | 'gaussian';

export const DEFAULT_DISTRIBUTION: Distribution = 'kaiming-uniform';

interface Preset {
  readonly shape: 'uniform' | 'normal';
  /** The variance σ² of A's entries for fan-in n and rank r. */
  readonly variance: (n: number, r: number) => number;
  /** The same variance as a spec writes it; null if it depends on r, which no spec can write. */
  readonly written: string | null;
}

const VARIANCE_OF_PEFT: Omit<Preset, 'shape'> = { variance: (n) => 1 / (3 * n), written: '1/(3d)' };

export const presets: Readonly<Record<Distribution, Preset>> = {
  uniform: { shape: 'uniform', ...VARIANCE_OF_PEFT },
  normal: { shape: 'normal', ...VARIANCE_OF_PEFT },
  // U(±√(6/((1+a²)n))) with a = √5, PEFT's default: variance 1/(3n)
  'kaiming-uniform': { shape: 'uniform', ...VARIANCE_OF_PEFT },
  // U(±√(6/(n+r))): variance 2/(n+r)
  xavier: { shape: 'uniform', variance: (n, r) => 2 / (n + r), written: null },
  // PEFT's init_lora_weights="gaussian": N(0, 1/r²)
  gaussian: { shape: 'normal', variance: (_n, r) => 1 / (r * r), written: null },
};

/** The values of `distribution` for which the initial factors are a part of W0 (start.ts). */
export const RESIDUALS = ['pissa', 'olora'] as const;
export type Residual = (typeof RESIDUALS)[number];

/** Whether A is drawn from this distribution, and not taken from the weights (RESIDUALS). */
export const isDrawn = (distribution: string): distribution is Distribution =>
  Object.hasOwn(presets, distribution);

/** Matches `1/d`, `2/(3d)` and `2/(3*d)`. */
const FRACTION = /^\s*(\d+(?:\.\d+)?)\s*\/\s*(?:d|\(\s*(\d+(?:\.\d+)?)\s*\*?\s*d\s*\))\s*$/;

/** Returns the k and j of `k/(jd)` in lowest terms (1/(2d) for 0.5/d); null for another text. */
function fractionOfFanIn(text: string): { readonly k: bigint; readonly j: bigint } | null {
  const [, above, below = '1'] = FRACTION.exec(text) ?? [];
  if (above === undefined) return null;
  const decimals = Math.max(...[above, below].map((of) => of.split('.')[1]?.length ?? 0));
  const [k, j] = [scaledUp(above, decimals), scaledUp(below, decimals)];
  const common = greatestCommonDivisor(k, j) || 1n;
  return { k: k / common, j: j / common };
}

/** Returns 10^decimals times the number in `text`, which has at most `decimals` decimals. */
function scaledUp(text: string, decimals: number): bigint {
  const [whole = '', part = ''] = text.split('.');
  return BigInt(whole + part.padEnd(decimals, '0'));
}

const greatestCommonDivisor = (a: bigint, b: bigint): bigint =>
  b === 0n ? a : greatestCommonDivisor(b, a % b);

/**
 * Returns the variance σ² that `text`, a number, `k/d` or `k/(jd)`, means for a layer of fan-in d;
 * null for any other text and for a value that is not positive.
 */
export function parseVariance(text: number | string, d: number): number | null {
  const fraction = typeof text === 'string' ? fractionOfFanIn(text) : null;
  // An empty text is 0, which is not positive.
  const value = fraction ? Number(fraction.k) / (Number(fraction.j) * d) : Number(text);
  return Number.isFinite(value) && value > 0 ? value : null;
}

/**
 * Returns σ² of A's entries for fan-in n and rank r: `init.variance` or, without it, the
 * distribution's. Throws UserFault if `init.variance` cannot be read.
 */
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
 * Returns a function from a layer's fan-in and rank to σ² of A's entries by `init`, whose missing
 * fields have their defaults. Returns null without `init`, or if A is not drawn.
 */
export function statedVariance(
  init: { readonly distribution?: string; readonly variance?: number | string } | undefined,
): ((fanIn: number, rank: number) => number) | null {
  if (init === undefined) return null;
  const { distribution = DEFAULT_DISTRIBUTION } = init;
  if (!isDrawn(distribution)) return null;
  return (fanIn, rank) => initialVariance({ ...init, distribution }, fanIn, rank);
}

/**
 * Draws A, (r, n): σ times draws of variance 1, row after row from stream (seed, 'lora_A', layer).
 * So the rows of a lower rank are the first rows of a higher one.
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

/**
 * Returns one form for all spellings of a variance: the number 0.5 for the text "0.50", 1/(3d) for
 * 2/(6*d). A number stays as it is, and so does a text that is neither a number nor a fraction.
 */
function canonicalVariance(written: Json): Json {
  if (typeof written !== 'string') return written;
  const fraction = fractionOfFanIn(written);
  if (fraction === null) {
    const number = Number(written);
    return written.trim() === '' || !Number.isFinite(number) ? written : number;
  }
  const { k, j } = fraction;
  return j === 1n ? `${k}/d` : `${k}/(${j}d)`;
}

/**
 * Returns an `init` whose distribution is uniform or normal and whose variance is a number or k/d,
 * so that any two `init`s that draw the same A become equal. Where A is not drawn, or its variance
 * depends on the rank, returns `init` as it is, with the default distribution filled in.
 */
function canonicalInit(init: JsonObject): JsonObject {
  const { distribution = DEFAULT_DISTRIBUTION, variance, ...more } = init;
  const preset =
    typeof distribution === 'string' && isDrawn(distribution) ? presets[distribution] : null;
  const given = variance ?? preset?.written ?? null;
  if (preset === null || given === null) return { ...more, distribution, ...defined({ variance }) };
  return { ...more, distribution: preset.shape, variance: canonicalVariance(given) };
}

/**
 * Returns a spec's parameters with `alpha` as a number, if it is the same for all layers, and with
 * a canonical `init`, if the spec has an `init` and no `init_from`.
 */
export function canonicalLora(params: JsonObject): JsonObject {
  const { rank, alpha, rank_pattern: ranks, init, init_from: folder } = params;
  return {
    ...params,
    // With `rank_pattern`, alpha is a multiple of each layer's own rank, and stays a text.
    ...(typeof alpha === 'string' && typeof rank === 'number' && ranks === undefined
      ? { alpha: parseAlpha(alpha, rank) }
      : {}),
    // With `init_from`, the folder gives the A that training starts from: `init` stays as it is.
    ...(folder === undefined && init !== undefined
      ? { init: canonicalInit(init as JsonObject) }
      : {}),
  };
}
