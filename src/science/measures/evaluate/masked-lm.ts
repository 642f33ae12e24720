/**
 * Forgetting, measured by the masked-LM loss of a trained body under the checkpoint's own
 * pretraining head (docs/theory.md, ΔW). Masking is BERT's (Devlin et al. 2019, §3.1). It chooses
 * 15% of a text's tokens, at least one: of these, 80% are replaced by the mask token, 10% by a
 * random token, and 10% are left.
 */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../../api.ts';
import { randomStream } from '../../../base/random.ts';
import { compiled } from '../../../tensor/compiled/compiled.ts';
import { fileName, readParameters } from '../../models/base.ts';
import { type Checkpoint, openCheckpoint } from '../../models/io/checkpoint.ts';
import { linear } from '../../models/linear.ts';
import type { Network } from '../../models/network.ts';
import type { Architecture, ParameterSpec, TokenRow } from '../../models/types.ts';
import { tokenLosses } from './predict.ts';

const MASKED_SHARE = 0.15,
  SHOWN_AS_MASK = 0.8,
  SHOWN_AT_RANDOM = 0.1;

/** A text with masked tokens, and the tokens that the model is to predict. */
export interface MaskedRow {
  /** The ids that the model reads: some are replaced by the mask token or at random. */
  readonly ids: Int32Array; // (T)
  readonly typeIds: Int32Array;
  /** Positions to predict, ascending, and the original tokens there. */
  readonly places: readonly number[];
  readonly tokens: readonly number[];
}

export interface Masking {
  readonly vocabulary: number; // V
  readonly mask: number; // the mask token's id
  /** Tokens that are never predicted: the special tokens around every text. */
  readonly special: ReadonlySet<number>;
  readonly seed: number;
}

/**
 * Masks tokens of a row, drawn from the stream (seed, 'masked-lm', name). Returns null if all of
 * its tokens are special.
 */
export function maskRow(
  { ids, typeIds }: TokenRow,
  name: string,
  { vocabulary, mask, special, seed }: Masking,
): MaskedRow | null {
  const maskable = Array.from(ids.keys()).filter((t) => !special.has(ids[t]!));
  if (maskable.length === 0) return null;
  const stream = randomStream(seed, 'masked-lm', name);
  const count = Math.max(1, Math.round(MASKED_SHARE * maskable.length));
  const drawn = stream.permutation(maskable.length).slice(0, count);
  const places = Array.from(drawn, (k) => maskable[k]!).sort((a, b) => a - b);
  const shown = ids.slice();
  for (const place of places) {
    const u = stream.uniform();
    if (u < SHOWN_AS_MASK) shown[place] = mask;
    else if (u < SHOWN_AS_MASK + SHOWN_AT_RANDOM) shown[place] = stream.integer(vocabulary);
  }
  return { ids: shown, typeIds, places, tokens: places.map((place) => ids[place]!) };
}

/** A checkpoint's masked-LM head, to be applied to trained bodies. Dispose of it after use. */
export interface MaskedLm<Body = Network> {
  readonly vocabulary: number;
  /** Returns Σ −log p(token) over all positions to predict, in nats, and their number. */
  loss(
    body: Body,
    rows: readonly MaskedRow[],
    batchSize: number,
    onBatch?: (done: number, total: number) => Promise<void>,
  ): Promise<{ readonly sum: number; readonly tokens: number }>;
  dispose(): void;
}

/** A family with its masked-LM head, which has a logit for every token of the vocabulary. */
interface HeadShape {
  readonly architecture: Architecture;
  readonly config: unknown;
  readonly vocabulary: number; // V
}

interface PretrainingHead extends HeadShape {
  /** The head's parameters by canonical name. */
  readonly parameters: ReadonlyMap<string, Tensor>;
}

/** Returns the family with its masked-LM head; null where that is missing or not implemented. */
function withPretrainingHead(
  family: Architecture,
  checkpointConfig: Checkpoint['config'],
): HeadShape | null {
  try {
    const ofOneToken = family.withHead({ type: 'cloze', tokens: [0] });
    const vocabulary = ofOneToken.vocabularySize(ofOneToken.parseConfig(checkpointConfig, 1));
    const tokens = Array.from({ length: vocabulary }, (_, token) => token);
    const architecture = family.withHead({ type: 'cloze', tokens });
    return {
      architecture,
      config: architecture.parseConfig(checkpointConfig, vocabulary),
      vocabulary,
    };
  } catch (error) {
    // The family has no masked-LM head, or the checkpoint has one that is not implemented.
    if (error instanceof UserFault) return null;
    throw error;
  }
}

/**
 * Returns the family with its masked-LM head, and `names`: by canonical name, the name of each of
 * the head's parameters in the checkpoint's file. Null where the head or one of its parameters is
 * missing, or the head is not implemented.
 */
export function findPretrainingHead(
  family: Architecture,
  checkpoint: Checkpoint,
): (HeadShape & { readonly names: ReadonlyMap<string, string> }) | null {
  const head = withPretrainingHead(family, checkpoint.config);
  if (head === null) return null;
  const { architecture, config } = head;
  const names = new Map<string, string>();
  for (const spec of headParameters(architecture, config)) {
    const name = fileName(checkpoint, architecture, spec);
    if (name === undefined) return null;
    names.set(spec.name, name);
  }
  return { ...head, names };
}

const headParameters = (architecture: Architecture, config: unknown): ParameterSpec[] =>
  architecture.parameters(config).filter(({ name }) => architecture.isHead(name));

/**
 * Returns one row for each position to predict, and the token to predict there: a cloze head reads
 * one token of a row, at the row's `mask`.
 */
export const maskedPositions = (
  rows: readonly MaskedRow[],
): { readonly row: TokenRow; readonly token: number }[] =>
  rows.flatMap(({ ids, typeIds, places, tokens }) =>
    places.map((mask, k) => ({ row: { ids, typeIds, mask }, token: tokens[k]! })),
  );

/**
 * Returns the logits (B, V) of the head over the trained body. Parameters that the head shares with
 * the body, such as tied embeddings, have their trained values; all others are the checkpoint's.
 */
function logitsOver(
  body: Network,
  { architecture, config, parameters }: PretrainingHead,
  batch: readonly TokenRow[],
): Tensor2D {
  const ofBody = new Set(body.parameters.map(({ name }) => name)),
    layers = new Set(body.linears.map(({ name }) => name));
  const parameter = (name: string): Tensor =>
    ofBody.has(name) ? body.frozen(name) : parameters.get(name)!;
  const biased = new Set(
    architecture.linears(config).flatMap((layer) => (layer.bias ? [layer.name] : [])),
  );
  /** Returns a layer's bias; null for a layer without one. */
  const biasOf = (layer: string): Tensor1D | null =>
    biased.has(layer) ? (parameter(`${layer}.bias`) as Tensor1D) : null;
  return architecture.forward(config, batch, {
    parameter,
    linear: (layer, x) => {
      const W = parameter(`${layer}.weight`) as Tensor2D,
        b = biasOf(layer);
      return layers.has(layer)
        ? body.adapter.linear(layer, x, W, b, { parameter })
        : linear(x, W, b);
    },
    scope: (part) => tf.tidy(part),
  });
}

/** Opens the masked-LM head of a checkpoint; null where the family or the checkpoint has none. */
export async function openMaskedLm(
  family: Architecture,
  model: { readonly path: string },
): Promise<MaskedLm | null> {
  const checkpoint = await openCheckpoint(model.path);
  const found = findPretrainingHead(family, checkpoint);
  if (found === null) return null;
  const specs = headParameters(found.architecture, found.config);
  const parameters = new Map(
    [...(await readParameters(checkpoint, found.names, specs))].map(([name, { data, shape }]) => [
      name,
      tf.keep<Tensor>(tf.tensor(data, shape.slice(), 'float32')),
    ]),
  );
  const head: PretrainingHead = { ...found, parameters };
  return {
    vocabulary: head.vocabulary,
    loss: async (body, rows, batchSize, onBatch) => {
      const all = maskedPositions(rows);
      let sum = 0;
      for (let start = 0; start < all.length; start += batchSize) {
        const some = all.slice(start, start + batchSize),
          batch = some.map(({ row }) => row),
          tokens = some.map(({ token }) => token);
        const found = compiled(() =>
          tf.tidy(() => tokenLosses(logitsOver(body, head, batch), tokens).dataSync<'float32'>()),
        );
        for (const value of found) sum += value;
        await onBatch?.(Math.min(all.length, start + batchSize), all.length);
      }
      return { sum, tokens: all.length };
    },
    dispose: () => parameters.forEach((tensor) => tensor.dispose()),
  };
}
