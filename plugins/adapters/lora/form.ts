/**
 * Puts LoRA's parameters into the one form that all ways to write them share
 * (`AdapterDescriptor.canonical`). plugins/adapters/lora/init.ts reads the same fields, but
 * planning must not load it. This file therefore repeats them, and a test checks that the two
 * agree.
 */
import type { Json, JsonObject } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { alphaOf } from './alpha.ts';
import { fractionOfFanIn } from './variance.ts';

/**
 * Each distribution's shape and default variance. The variance is null if it depends on the rank.
 */
const DISTRIBUTIONS: { readonly [name: string]: readonly [shape: string, variance: Json] } = {
  uniform: ['uniform', '1/(3d)'],
  normal: ['normal', '1/(3d)'],
  'kaiming-uniform': ['uniform', '1/(3d)'],
  xavier: ['uniform', null],
  gaussian: ['normal', null],
};

/** Whether A is drawn from this distribution, and not taken from the weights. */
export const isDrawn = (distribution: string): boolean =>
  Object.hasOwn(DISTRIBUTIONS, distribution);

/**
 * Returns the canonical form of a number, `k/d` or `k/(jd)`. Anything else is left for the adapter
 * to check.
 */
function varianceForm(written: Json): Json {
  if (typeof written !== 'string') return written;
  const fraction = fractionOfFanIn(written);
  if (fraction === null) {
    const number = Number(written);
    return written.trim() === '' || !Number.isFinite(number) ? written : number;
  }
  const { k, j } = fraction;
  return j === 1 ? `${k}/d` : `${k}/(${j}d)`;
}

/**
 * Returns an initialiser as its shape and variance, if the variance is a number or k/d.
 * Initialisers of the same form draw the same A, to the last bit.
 */
function initForm(init: JsonObject): JsonObject {
  const { distribution = 'kaiming-uniform', variance, ...more } = init;
  const known = typeof distribution === 'string' ? DISTRIBUTIONS[distribution] : undefined;
  const [shape, preset] = known ?? [null, null];
  const given = variance ?? preset;
  if (shape === null || given === null) return { ...more, distribution, ...defined({ variance }) };
  return { ...more, distribution: shape, variance: varianceForm(given) };
}

/** Resolves an `alpha` that is a multiple of r, and puts `init` into its form. */
export function loraForm(params: JsonObject): JsonObject {
  const { rank, alpha, rank_pattern: ranks, init, init_from: folder } = params;
  return {
    ...params,
    // With `rank_pattern`, alpha is a multiple of each layer's own rank, and stays a text.
    ...(typeof alpha === 'string' && typeof rank === 'number' && ranks === undefined
      ? { alpha: alphaOf(alpha, rank) }
      : {}),
    // With `init_from`, the folder gives the A that training starts from, so `init` is left out.
    ...(folder === undefined && init !== undefined ? { init: initForm(init as JsonObject) } : {}),
  };
}
