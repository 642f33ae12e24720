/** Pieces of descriptions. It imports nothing that computes, so that planning can load it. */
import { defineModel, UserFault } from '../../../api.ts';
import { shown } from '../../../base/untrusted/json.ts';
import type { Architecture } from '../types.ts';
import type {
  ClassifierHead,
  ConfigFields,
  Family,
  HeadNames,
  Layer,
  Norm,
  Projection,
  Rotary,
} from './description.ts';

/** Returns the plugin of a family. The code that computes is imported only by its `load`. */
export const familyModel = (name: string, summary: string, own: Family) =>
  defineModel<Architecture>({
    name,
    summary,
    modelTypes: own.modelTypes,
    load: async () => (await import('../family.ts')).family(own),
  });

/**
 * The heads of an encoder.
 * @param name begins the names of its classes in transformers
 * @param modules the modules that a classifier adds, which are always trained in full
 */
export const encoderHeads = (name: string, modules: readonly string[]): HeadNames => ({
  classifier: { transformersName: `${name}ForSequenceClassification`, modules },
  cloze: { transformersName: `${name}ForMaskedLM` },
});

/** The heads of a decoder, by the names of their classes in transformers. */
export const decoderHeads = (classifier: string, causalLm: string): HeadNames => ({
  classifier: { transformersName: classifier, modules: ['score'] },
  causalLm: { transformersName: causalLm },
});

export const linear = (name: string, input: number, out: number, bias = true): Projection => ({
  name,
  in: input,
  out,
  bias,
});

/** A linear layer that checkpoints hold transposed (Conv1D of transformers). */
export const conv1d = (name: string, input: number, out: number): Projection => ({
  ...linear(name, input, out),
  stored: 'transposed',
});

export const layerNorm = (name: string, epsilon: number, bias = true): Norm => ({
  name,
  kind: 'layer',
  epsilon,
  bias,
});

export const rmsNorm = (name: string, epsilon: number): Norm => ({ name, kind: 'rms', epsilon });

/** Returns what `layer` returns for i from 0 to count − 1. */
export const layersOf = (count: number, layer: (i: number) => Layer): Layer[] =>
  Array.from({ length: count }, (_, i) => layer(i));

/** The classifier of decoders: a layer without bias, over the last token. */
export const lastTokenClassifier = (
  fields: ConfigFields,
  vocabulary: number,
  hidden: number,
): ClassifierHead => ({
  reads: 'last',
  padding: fields.token('pad_token_id', vocabulary, null),
  output: { name: 'score', in: hidden, bias: false },
});

/** The frequencies θ^(−2i/r), (r/2). */
const frequencies = (theta: number, r: number): number[] =>
  Array.from({ length: Math.ceil(r / 2) }, (_, i) => 1 / theta ** ((2 * i) / r));

/**
 * Llama 3's scaling (Dubey et al. 2024): frequencies of long wavelengths are divided by the factor,
 * those of short ones stay, and those between are interpolated.
 */
function llama3(own: readonly number[], fields: ConfigFields): number[] {
  const factor = fields.positive('factor'),
    low = fields.positive('low_freq_factor'),
    high = fields.positive('high_freq_factor'),
    context = fields.count('original_max_position_embeddings', 'positions');
  return own.map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < context / high) return frequency;
    if (wavelength > context / low) return frequency / factor;
    const share = (context / wavelength - low) / (high - low);
    return ((1 - share) * frequency) / factor + share * frequency;
  });
}

/**
 * YaRN's scaling (Peng et al. 2024), as transformers computes it: frequencies that turn more than
 * `beta_fast` times within the original context stay, those that turn less than `beta_slow` times
 * are divided by the factor, and those between are interpolated by their index. Cosine and sine are
 * multiplied by another factor (`yarnFactor`).
 * @param plain the frequencies before scaling, with base `base`
 * @param scaling the fields of the scaling
 * @param outer the fields of config.json
 */
function yarn(
  plain: readonly number[],
  scaling: ConfigFields,
  outer: ConfigFields,
  base: number,
): Rotary {
  const originally = 'original_max_position_embeddings';
  const maxPositions = (): number => outer.count('max_position_embeddings', 'positions');
  const holder = [outer, scaling].find((fields) => fields.raw(originally) !== undefined);
  const context = holder?.count(originally, 'positions') ?? maxPositions();
  // DeepSeek-V3 has factor: null, which stands for the ratio of the two lengths.
  const factor =
    scaling.raw('factor') === null ? maxPositions() / context : scaling.positive('factor');
  const fast = scaling.positive('beta_fast', 32),
    slow = scaling.positive('beta_slow', 1);
  const half = plain.length,
    r = 2 * half;
  /** Returns the index, as a fraction, of the frequency that turns `turns` times in `context`. */
  const indexOf = (turns: number): number =>
    (r * Math.log(context / (turns * 2 * Math.PI))) / (2 * Math.log(base));
  const whole = scaling.flag('truncate', true);
  const low = Math.max(whole ? Math.floor(indexOf(fast)) : indexOf(fast), 0),
    end = Math.min(whole ? Math.ceil(indexOf(slow)) : indexOf(slow), r - 1),
    high = low === end ? end + 0.001 : end;
  const frequencies = plain.map((frequency, i) => {
    const stretched = Math.min(1, Math.max(0, (i - low) / (high - low)));
    return (frequency / factor) * stretched + frequency * (1 - stretched);
  });
  return { frequencies, factor: yarnFactor(scaling, factor) };
}

/**
 * YaRN's factor on cosine and sine: `attention_factor` if config.json gives it; growth(mscale) /
 * growth(mscale_all_dim) if config.json gives both of these; else growth(1).
 */
function yarnFactor(scaling: ConfigFields, factor: number): number {
  /** Returns a field's number; null if it is absent, null or 0. */
  const given = (field: string): number | null => {
    const value = scaling.raw(field) ?? null;
    return value === null || value === 0 ? null : scaling.positive(field);
  };
  /** Returns 0.1·mscale·ln(factor) + 1, or 1 for a factor of at most 1. */
  const growth = (mscale: number): number =>
    factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
  const [own, some, all] = [given('attention_factor'), given('mscale'), given('mscale_all_dim')];
  if (own !== null) return own;
  return some !== null && all !== null ? growth(some) / growth(all) : growth(1);
}

/**
 * Reads the rotary embeddings of one kind of layer: from `rope_parameters`, which transformers 5
 * writes, or else from `rope_theta` and `rope_scaling`. Throws UserFault where these ask for a
 * scaling that is not implemented.
 * @param width d, the features of a head
 * @param theta θ, the base of the frequencies, where config.json does not say
 * @param share the share of a head's features that are rotated, where config.json does not say
 * @param kind the key in `rope_parameters`, for models with several kinds of layers
 */
export function readRotary(
  fields: ConfigFields,
  width: number,
  { theta, share = 1, kind }: { theta: number; share?: number; kind?: string },
): Rotary {
  const outer = fields.inner('rope_parameters');
  const own = (kind === undefined ? outer : outer?.inner(kind)) ?? null;
  const scaling = own ?? fields.inner('rope_scaling');
  const base = own?.positive('rope_theta', theta) ?? fields.positive('rope_theta', theta);
  const part = own?.positive('partial_rotary_factor', share) ?? share;
  const plain = frequencies(base, Math.floor(width * part));
  if (scaling === null) return { frequencies: plain };
  const type = scaling.raw('rope_type') ?? scaling.raw('type') ?? 'default';
  switch (type) {
    case 'default':
    // Frequencies change only for texts longer than max_position_embeddings, which are refused.
    case 'dynamic':
      return { frequencies: plain };
    case 'linear': {
      const factor = scaling.positive('factor');
      return { frequencies: plain.map((frequency) => frequency / factor) };
    }
    case 'llama3':
      return { frequencies: llama3(plain, scaling) };
    case 'yarn':
      return yarn(plain, scaling, fields, base);
    default:
      throw new UserFault(
        `config.json: rope scaling of type ${shown(type)} is not implemented`,
        'Implemented: "default", "linear", "dynamic", "llama3", "yarn".',
      );
  }
}
