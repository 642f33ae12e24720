/**
 * LoRA's parameters in the one form that all ways to write them share (`AdapterDescriptor.canonical`). Apart from the
 * science, which reads them (src/science/nn/lora-init.ts): planning loads none of it. A test holds the two together.
 */
import type { Json, JsonObject } from '../api.ts';
import { alphaOf } from '../api/alpha.ts';
import { fractionOfFanIn } from '../api/variance.ts';

/** Of each distribution, the shape of the unit draw, and the variance where none is given; null: it depends on the rank. */
const DISTRIBUTIONS: { readonly [name: string]: readonly [shape: string, variance: Json] } = {
  uniform: ['uniform', '1/(3d)'],
  normal: ['normal', '1/(3d)'],
  'kaiming-uniform': ['uniform', '1/(3d)'],
  xavier: ['uniform', null],
  gaussian: ['normal', null],
};

/** A number, `k/d` or `k/(jd)`; what is neither stays as it is, for the adapter's own check. */
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

/** An initialiser by the shape of its draw and its variance, wherever that is a number or k/d: the same A to the last bit. */
function initForm(init: JsonObject): JsonObject {
  const { distribution = 'kaiming-uniform', variance, ...more } = init;
  const [shape, preset] = DISTRIBUTIONS[String(distribution)] ?? [null, null];
  const given = variance ?? preset;
  if (shape === null || given === null) return { ...more, distribution };
  return { ...more, distribution: shape, variance: varianceForm(given) };
}

/** A multiple of r as `alpha` is its number, and `initForm`. */
export function loraForm(params: JsonObject): JsonObject {
  const { rank, alpha, rank_pattern: ranks, init, init_from: folder } = params;
  return {
    ...params,
    // With `rank_pattern` it is a multiple of each layer's own rank.
    ...(typeof alpha === 'string' && typeof rank === 'number' && ranks === undefined
      ? { alpha: alphaOf(alpha, rank) }
      : {}),
    // A folder says where A starts.
    ...(folder === undefined && init !== undefined ? { init: initForm(init as JsonObject) } : {}),
  };
}
