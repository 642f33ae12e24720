/**
 * Pieces of descriptions that several families share. Nothing here computes, so that a model plugin
 * can import it while planning.
 */
import { UserFault } from '../api.ts';
import { shown } from '../untrusted/json.ts';
import type { ConfigFields } from './description.ts';
import type { ClassifierHead, Layer, Norm, Projection, Rotary } from './description.ts';

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

/** The layers 0, 1, … of a model, each described by its number. */
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
 * Llama 3's scaling (Dubey et al. 2024): long wavelengths are divided by a factor, short ones stay,
 * and those between are interpolated.
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
 * The rotary embeddings of one kind of layer: of `rope_parameters` as transformers 5 writes it, or
 * of `rope_theta` and `rope_scaling`. Throws UserFault where they ask for a scaling that is not
 * implemented.
 * @param width d, the features of a head
 * @param kind the key in `rope_parameters`, for models with several kinds of layers
 */
export function rotaryOf(
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
      return { frequencies: plain };
    case 'linear': {
      const factor = scaling.positive('factor');
      return { frequencies: plain.map((frequency) => frequency / factor) };
    }
    case 'llama3':
      return { frequencies: llama3(plain, scaling) };
    default:
      throw new UserFault(
        `config.json: rope scaling of type ${shown(type)} is not implemented`,
        'Implemented: "default", "linear", "llama3".',
      );
  }
}
