/**
 * Text generation by a decoder with a causal-LM head: batched, with a cache of keys and values, and
 * without padding, so that a row's text does not depend on the rows beside it beyond float32
 * rounding.
 */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../../api.ts';
import { at } from '../../../base/lookup.ts';
import type { RandomStream } from '../../../base/random.ts';
import { compiled } from '../../../tensor/compiled/compiled.ts';
import type { Network } from '../network.ts';
import { similarLengths } from '../similar-lengths.ts';
import type { TokenRow } from '../types.ts';
import { KeyValueCache } from './key-value-cache.ts';
import { drawToken, type Sampling } from './sample.ts';

export interface GenerateOptions {
  /** The largest number of new tokens for a prompt. */
  readonly maxNewTokens: number;
  /** The ids that end a text. */
  readonly stops: readonly number[];
  readonly batchSize: number;
  /** Default: greedy. */
  readonly sampling?: Sampling;
  /** The random stream of a prompt, by its index, where tokens are sampled. */
  readonly random?: (prompt: number) => RandomStream;
  /** Called after each batch with the number of prompts done, and awaited. */
  readonly onBatch?: (done: number) => Promise<void> | void;
}

export interface Generated {
  /** The new tokens, without the one that ended the text. */
  readonly ids: readonly number[];
  /** Whether a stop ended the text, and not `maxNewTokens`. */
  readonly ended: boolean;
}

/** Chooses the next token of each row by its logits (B, V). */
type Choose = (logits: Tensor2D, prompts: readonly number[]) => number[];

const notFinite = (prompt: number): UserFault =>
  new UserFault(
    `The logits after prompt ${prompt} are not finite.`,
    "The training diverged: look at the model's loss.",
  );

/**
 * The first of the likeliest tokens. Reading all logits takes less time than TensorFlow's argmax.
 */
const likeliest: Choose = (logits, prompts) => {
  const values = logits.dataSync<'float32'>(),
    V = logits.shape[1];
  return prompts.map((prompt, row) => {
    let best = -Infinity,
      id = -1,
      finite = true;
    for (let k = row * V; k < (row + 1) * V; k++) {
      const value = values[k]!;
      if (value > best) {
        best = value;
        id = k - row * V;
      } else if (Number.isNaN(value)) finite = false;
    }
    if (!finite || !Number.isFinite(best)) throw notFinite(prompt);
    return id;
  });
};

/** Draws from a random stream of each prompt, so that the batches do not change the texts. */
function drawing(sampling: Sampling, random: (prompt: number) => RandomStream): Choose {
  const streams = new Map<number, RandomStream>();
  return (logits, prompts) => {
    const values = logits.dataSync<'float32'>(),
      V = logits.shape[1];
    return prompts.map((prompt, row) => {
      const own = values.subarray(row * V, (row + 1) * V);
      if (!own.every(Number.isFinite)) throw notFinite(prompt);
      const stream = streams.get(prompt) ?? random(prompt);
      streams.set(prompt, stream);
      return drawToken(own, sampling, stream);
    });
  };
}

/** Continues the prompts of one batch. @param prompts their indexes  @param out by index */
function continueBatch(
  network: Pick<Network, 'forward'>,
  rows: readonly TokenRow[],
  prompts: readonly number[],
  { maxNewTokens, stops }: GenerateOptions,
  choose: Choose,
  out: { ids: number[]; ended: boolean }[],
): void {
  const cache = new KeyValueCache(prompts.length);
  try {
    let live = [...prompts],
      batch: readonly TokenRow[] = prompts.map((prompt) => {
        const { ids, typeIds } = at(rows, prompt);
        return { ids, typeIds };
      });
    for (let step = 0; step < maxNewTokens && live.length > 0; step++) {
      const current = batch,
        asked = live;
      const ids = compiled(() =>
        tf.tidy(() => choose(network.forward(current, undefined, { cache }), asked)),
      );
      const going: number[] = [];
      ids.forEach((id, row) => {
        const text = at(out, at(asked, row));
        if (stops.includes(id)) text.ended = true;
        else {
          text.ids.push(id);
          going.push(row);
        }
      });
      if (going.length < live.length && going.length > 0) cache.keep(going);
      cache.compact();
      live = going.map((row) => at(asked, row));
      batch = going.map((row) => ({
        ids: Int32Array.of(at(ids, row)),
        typeIds: new Int32Array(1),
      }));
    }
  } finally {
    cache.dispose();
  }
}

/**
 * Continues each prompt until a stop or `maxNewTokens`. Returns the texts in the order of the
 * prompts. Throws UserFault if a logit is not finite.
 * @param network opened for evaluation, with a causal-LM head
 */
export async function generate(
  network: Pick<Network, 'forward'>,
  prompts: readonly TokenRow[],
  options: GenerateOptions,
): Promise<Generated[]> {
  const { batchSize, sampling, random, onBatch } = options;
  if (sampling !== undefined && random === undefined)
    throw new Error('sampling needs the random streams of the prompts');
  const choose =
    sampling === undefined || random === undefined ? likeliest : drawing(sampling, random);
  const out = prompts.map(() => ({ ids: [] as number[], ended: false }));
  let done = 0;
  for (const some of similarLengths(prompts, batchSize)) {
    continueBatch(network, prompts, some, options, choose, out);
    await onBatch?.((done += some.length));
  }
  return out;
}
