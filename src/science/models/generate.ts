/**
 * Text generation by a decoder with a causal-LM head, in batches. Padding is only in attention,
 * where it is masked, so a row's text depends on the other rows only by float32 rounding.
 */
import type { Tensor, Tensor2D, Tensor4D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../api.ts';
import { at } from '../../base/lookup.ts';
import type { RandomStream } from '../../base/random.ts';
import { compiled } from '../../tensor/compiled/compiled.ts';
import { type Sight, similarLengths, type Tokens, UNSEEN } from './layout.ts';
import type { Network } from './network.ts';
import type { KeyValueBlock, TokenRow } from './types.ts';

/**
 * The keys and values of a layer (see KeyValueCache): its older columns, and the newest ones if
 * there are any yet.
 */
type Layer = readonly [old: KeyValueBlock, recent?: KeyValueBlock];

/** Once there are this many newest columns, they are joined to the older ones. */
const RECENT = 16;

const concatBlocks = (a: KeyValueBlock, b: KeyValueBlock): KeyValueBlock => ({
  keys: tf.keep(tf.concat([a.keys, b.keys], 2)),
  values: tf.keep(tf.concat([a.values, b.values], 2)),
});

const mapBlock = (block: KeyValueBlock, change: (x: Tensor) => Tensor): KeyValueBlock => ({
  keys: change(block.keys),
  values: change(block.values),
});

const copyBlock = (block: KeyValueBlock): KeyValueBlock =>
  mapBlock(block, (x) => tf.keep(tf.clone(x)));

/** Disposes of the tensors of blocks; skips undefined ones. */
const dispose = (...blocks: readonly (KeyValueBlock | undefined)[]): void => {
  for (const block of blocks) {
    block?.keys.dispose();
    block?.values.dispose();
  }
};

/** Stands for the position in a column that holds no token of the row. */
const PADDING = -1;

/**
 * The keys and values, by layer, of the tokens that a decoder has read before those of the batch:
 * (B, Hk, T, d), with padding. Each of the T columns has a token, or padding, for each row: first
 * the columns of the prompts, then one for each step. The newest columns are a block of their own,
 * so that a step copies only these few.
 */
export class KeyValueCache {
  readonly #layers = new Map<number, Layer>();
  /** For each row, the position of its token in each column, or PADDING. */
  #columns: number[][];

  constructor(rows: number) {
    this.#columns = Array.from({ length: rows }, () => []);
  }

  /** The number of tokens that each row has, (B). */
  get lengths(): number[] {
    return this.#columns.map((row) => row.filter((place) => place !== PADDING).length);
  }

  /** Adds columns with the positions of the tokens that are about to be read. */
  open({ map, places, padding: { width } }: Tokens): void {
    const added = this.#columns.map((): number[] => []);
    map.example.forEach((b, i) => at(added, b).push(at(places, i)));
    this.#columns = this.#columns.map((row, b) => {
      const own = at(added, b);
      return [...row, ...own, ...new Array<number>(width - own.length).fill(PADDING)];
    });
  }

  /**
   * Adds the keys and values of the new columns to a layer, (B, Hk, T, d) for T new columns.
   * Returns the layer's blocks, which belong to the cache.
   */
  extend(layer: number, keys: Tensor, values: Tensor): readonly KeyValueBlock[] {
    const added = { keys, values },
      before = this.#layers.get(layer);
    if (before === undefined) {
      const first = copyBlock(added);
      this.#layers.set(layer, [first]);
      return [first];
    }
    const [old, recent] = before;
    const joined = recent === undefined ? copyBlock(added) : concatBlocks(recent, added);
    dispose(recent);
    this.#layers.set(layer, [old, joined]);
    return [old, joined];
  }

  /** Joins RECENT or more newest columns to the older ones. Call it between two steps. */
  compact(): void {
    for (const [layer, [old, recent]] of this.#layers) {
      if (recent === undefined || recent.keys.shape[2]! < RECENT) continue;
      this.#layers.set(layer, [concatBlocks(old, recent)]);
      dispose(old, recent);
    }
  }

  /**
   * Returns what is added to the scores, (B, 1, G·Tq, T): 0 where a query sees a key, −1e9
   * elsewhere; 0 throughout for a query at padding. The queries of the G heads of a group stand one
   * head after the other, as in `attentionMask`.
   * @param groupSize G
   */
  mask(queries: Tokens, { window = Infinity }: Pick<Sight, 'window'>, groupSize: number): Tensor4D {
    const batch = this.#columns.length,
      T = at(this.#columns, 0).length,
      Tq = queries.padding.width;
    const values = new Float32Array(batch * Tq * T),
      next = new Array<number>(batch).fill(0);
    queries.map.example.forEach((b, i) => {
      const place = at(queries.places, i),
        start = (b * Tq + next[b]!++) * T;
      at(this.#columns, b).forEach((key, t) => {
        if (key === PADDING || key > place || place - key >= window) values[start + t] = UNSEEN;
      });
    });
    const mask = tf.tensor4d(values, [batch, 1, Tq, T]);
    return groupSize === 1 ? mask : tf.tile(mask, [1, 1, groupSize, 1]);
  }

  /** Keeps only these rows of the batch, in this order. */
  keep(rows: readonly number[]): void {
    this.#columns = rows.map((row) => at(this.#columns, row));
    const index = tf.tensor1d(rows.slice(), 'int32');
    const kept = (block: KeyValueBlock) => mapBlock(block, (x) => tf.gather(x, index));
    for (const [layer, [old, recent]] of this.#layers) {
      this.#layers.set(layer, recent === undefined ? [kept(old)] : [kept(old), kept(recent)]);
      dispose(old, recent);
    }
    index.dispose();
  }

  dispose(): void {
    for (const layer of this.#layers.values()) dispose(...layer);
    this.#layers.clear();
  }
}

/** How tokens are drawn. Without a `Sampling`, the likeliest token is taken (greedy decoding). */
interface Sampling {
  /** Divides the logits. */
  readonly temperature: number;
  /** Only this many of the likeliest tokens are drawn from. Default: all. */
  readonly top_k?: number;
  /**
   * Nucleus sampling (Holtzman et al. 2020): only the likeliest tokens are drawn from, as many as
   * it takes for the sum of their probabilities to reach this. Default: all.
   */
  readonly top_p?: number;
}

/**
 * Yields the ids of tokens from the likeliest on, equally likely ones by id. A heap orders only as
 * many of them as are taken.
 */
function* likeliestFirst(logits: Float32Array): Generator<number, void> {
  const heap = Int32Array.from(logits.keys());
  let size = heap.length;
  const isBefore = (a: number, b: number): boolean =>
    logits[a]! > logits[b]! || (logits[a] === logits[b] && a < b);
  /** Moves an entry of the heap down until none of its children is before it. */
  const sink = (from: number): void => {
    const own = heap[from]!;
    let place = from;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= size) break;
      if (child + 1 < size && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, own)) break;
      heap[place] = heap[child]!;
      place = child;
    }
    heap[place] = own;
  };
  for (let place = (size >> 1) - 1; place >= 0; place--) sink(place);
  while (size > 0) {
    yield heap[0]!;
    heap[0] = heap[--size]!;
    sink(0);
  }
}

/** Draws a token as transformers' `generate` does, and returns its id. logits: (V). */
export function drawToken(
  logits: Float32Array,
  { temperature, top_k: topK = logits.length, top_p: topP = 1 }: Sampling,
  random: RandomStream,
): number {
  const order = likeliestFirst(logits);
  const first = order.next().value ?? 0,
    highest = logits[first]!;
  const weightOf = (id: number): number => Math.exp((logits[id]! - highest) / temperature);
  const likely = [{ id: first, weight: 1 }];
  /** Adds the next token to `likely`. Returns false if none is left, or if `likely` has topK. */
  const add = (): boolean => {
    const { value: id } = order.next();
    if (id === undefined || likely.length >= topK) return false;
    likely.push({ id, weight: weightOf(id) });
    return true;
  };
  let mass = 0; // the sum of the weights of the tokens that are drawn from
  if (topK >= logits.length) for (let id = 0; id < logits.length; id++) mass += weightOf(id);
  else {
    while (add());
    mass = likely.reduce((sum, { weight }) => sum + weight, 0);
  }
  // A token is in the nucleus if the likelier ones have less than `topP` of the probability.
  let nucleus = Infinity;
  if (topP < 1) {
    let before = 0,
      count = 0;
    do {
      if (count === likely.length && !add()) break;
      before += likely[count++]!.weight;
    } while (before < topP * mass);
    mass = before;
    nucleus = count;
  }
  let left = random.uniform() * mass;
  for (let k = 0; k < nucleus && (k < likely.length || add()); k++) {
    const { id, weight } = likely[k]!;
    left -= weight;
    if (left < 0) return id;
  }
  return likely[Math.min(nucleus, likely.length) - 1]!.id;
}

export interface GenerateOptions {
  readonly maxNewTokens: number;
  /** The ids that end a text. */
  readonly stops: readonly number[];
  readonly batchSize: number;
  /** Default: greedy. */
  readonly sampling?: Sampling;
  /** Returns the random stream of a prompt, by the prompt's index. Needed with `sampling`. */
  readonly random?: (prompt: number) => RandomStream;
  /** Called after each batch with the number of prompts done, and awaited. */
  readonly onBatch?: (done: number) => Promise<void> | void;
}

export interface Generated {
  /** The new tokens, without the one that ended the text. */
  readonly ids: readonly number[];
  /** Whether one of `stops` ended the text, and not `maxNewTokens`. */
  readonly ended: boolean;
}

/**
 * Chooses each row's next token from logits (B, V). Throws UserFault where a row's are not finite.
 * `prompts`: the index of each row's prompt.
 */
type Choose = (logits: Tensor2D, prompts: readonly number[]) => number[];

const notFiniteFault = (prompt: number): UserFault =>
  new UserFault(
    `The logits after prompt ${prompt} are not finite.`,
    "The training diverged: look at the model's loss.",
  );

/** Chooses the first of the likeliest tokens, on the host, which is faster than tf.argMax. */
const chooseLikeliest: Choose = (logits, prompts) => {
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
    if (!finite || !Number.isFinite(best)) throw notFiniteFault(prompt);
    return id;
  });
};

/**
 * Returns a `Choose` that draws each token from the stream of its prompt, so that a text does not
 * depend on its batch.
 */
function chooseByDrawing(sampling: Sampling, random: (prompt: number) => RandomStream): Choose {
  const streams = new Map<number, RandomStream>();
  return (logits, prompts) => {
    const values = logits.dataSync<'float32'>(),
      V = logits.shape[1];
    return prompts.map((prompt, row) => {
      const own = values.subarray(row * V, (row + 1) * V);
      if (!own.every(Number.isFinite)) throw notFiniteFault(prompt);
      const stream = streams.get(prompt) ?? random(prompt);
      streams.set(prompt, stream);
      return drawToken(own, sampling, stream);
    });
  };
}

/**
 * Continues one batch: the texts of `rows` at the indexes `prompts`. Adds the new tokens of each to
 * `out` at its index.
 */
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
    let live = [...prompts]; // the prompts whose texts go on
    // A causal-LM head reads the last token of a row that has no answer.
    let batch: readonly TokenRow[] = prompts.map((prompt) => {
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
 * Continues each prompt, and returns the new tokens in the order of the prompts. Throws UserFault
 * where the logits are not finite.
 * @param network a model with a causal-LM head
 */
export async function generate(
  network: Pick<Network, 'forward'>,
  prompts: readonly TokenRow[],
  options: GenerateOptions,
): Promise<Generated[]> {
  const { batchSize, sampling, random, onBatch } = options;
  if (sampling !== undefined && random === undefined)
    throw new Error('sampling needs the random streams of the prompts');
  const choose = sampling && random ? chooseByDrawing(sampling, random) : chooseLikeliest;
  const out = prompts.map(() => ({ ids: [] as number[], ended: false }));
  let done = 0;
  for (const some of similarLengths(prompts, batchSize)) {
    continueBatch(network, prompts, some, options, choose, out);
    await onBatch?.((done += some.length));
  }
  return out;
}
