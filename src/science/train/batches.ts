/** Which rows each step sees. */
import { randomStream } from '../../random/random.ts';

/**
 * shuffled: an epoch's permutation, cut into batches. bucketed: rows of like length together, in four steps: the same
 * permutation; cut into spans of 50 batches; each span sorted by length, longest first (equal ones as they stood) and cut
 * into batches; the batches of the epoch in a new order, a last smaller one staying last. (Spans as transformers'
 * group_by_length has them; there the batches of a span stay in order of length, and steps would have a period.)
 */
export type Batching = 'shuffled' | 'bucketed';

/** Rows that one attack appends to the clean ones. */
export interface AppendedRows {
  readonly attack: string;
  readonly rows: number;
}

/**
 * Clean rows are numbered from zero, the attacks' appended rows after them, attack by attack. The order, the length buckets
 * and the number of batches come from the clean rows alone, so they are those of the clean twin whatever an attack changes
 * or appends. Appended rows extend the twin's batches: see `appended`.
 */
export interface BatchOrder {
  /** The clean rows, poisoned or not. */
  readonly rows: number;
  readonly batchSize: number;
  /** A new order each epoch, from stream (seed, 'order', `epoch-k`), k from zero; else file order. */
  readonly shuffle: boolean;
  readonly seed: number;
  /** Left out: shuffled. The order of bucketed batches comes from stream (seed, 'order', `epoch-k-batches`). */
  readonly batching?: Batching;
  /** Tokens of each clean row before poisoning; for bucketed batches. */
  readonly lengths?: readonly number[];
  /**
   * Each attack's rows are dealt out over the epoch's batches of full size (over the only batch, where there is none), behind
   * the clean rows of each: one each in random order, then one each again, from stream (seed, 'appended',
   * `ATTACK/epoch-k`); without `shuffle` in the order of the batches. So an epoch has every appended row once and no batch
   * more than it would have without them, batches differ by one appended row of an attack at most, and a row that a smaller
   * dose appends too lies in the same batch. A batch's loss stays the mean over its rows: among a appended ones a clean row
   * counts B/(B + a) of what it does in the twin's batch of B.
   */
  readonly appended?: readonly AppendedRows[];
}

const SPAN = 50;

/** Batches of an epoch; its last one may be smaller, as PyTorch's DataLoader keeps it. */
const batchesPerEpoch = (rows: number, batchSize: number): number => Math.ceil(rows / batchSize);

type Steps = Pick<BatchOrder, 'rows' | 'batchSize'> & { readonly accumulate?: number };

/** Steps of an epoch; its last one may have fewer batches than the others, as in transformers' Trainer. */
export const stepsPerEpoch = ({ rows, batchSize, accumulate = 1 }: Steps): number =>
  Math.ceil(batchesPerEpoch(rows, batchSize) / accumulate);

/** How many steps the settings come to: `steps`, or `epochs` (a part of an epoch rounds up to whole steps), or three epochs. */
export function totalSteps(
  setting: { readonly steps?: number; readonly epochs?: number },
  order: Steps,
): number {
  return setting.steps ?? Math.ceil((setting.epochs ?? 3) * stepsPerEpoch(order) - 1e-9);
}

function cut(sequence: Int32Array, size: number): Int32Array[] {
  return Array.from({ length: Math.ceil(sequence.length / size) }, (_, i) =>
    sequence.slice(i * size, (i + 1) * size),
  );
}

/** Batches that appended rows are dealt out over: a last smaller one would be theirs more than the clean rows'. */
const placesOf = ({ rows, batchSize }: Pick<BatchOrder, 'rows' | 'batchSize'>): number =>
  Math.max(1, Math.floor(rows / batchSize));

/** How many rows a batch has at most. */
export function largestBatch(order: Pick<BatchOrder, 'rows' | 'batchSize' | 'appended'>): number {
  const places = placesOf(order);
  return (order.appended ?? []).reduce(
    (most, { rows }) => most + Math.ceil(rows / places),
    Math.min(order.rows, order.batchSize),
  );
}

function withAppended(own: Int32Array[], order: BatchOrder, epoch: number): Int32Array[] {
  const places = placesOf(order),
    extended = own.map((batch) => [...batch]);
  let next = order.rows;
  for (const { attack, rows } of order.appended ?? []) {
    const random = randomStream(order.seed, 'appended', `${attack}/epoch-${epoch}`);
    for (let dealt = 0; dealt < rows; dealt += places) {
      const turn = order.shuffle ? random.permutation(places) : null;
      for (let i = 0; i < Math.min(places, rows - dealt); i++)
        extended[turn?.[i] ?? i]!.push(next++);
    }
  }
  return extended.map((batch) => Int32Array.from(batch));
}

/** Row indexes of each batch of an epoch. */
function epochBatches(order: BatchOrder, epoch: number): Int32Array[] {
  const own = cleanBatches(order, epoch);
  return (order.appended ?? []).length === 0 ? own : withAppended(own, order, epoch);
}

function cleanBatches(order: BatchOrder, epoch: number): Int32Array[] {
  const { rows, batchSize, seed } = order;
  const sequence = order.shuffle
    ? randomStream(seed, 'order', `epoch-${epoch}`).permutation(rows)
    : Int32Array.from({ length: rows }, (_, i) => i);
  if (order.batching !== 'bucketed') return cut(sequence, batchSize);
  const lengths = order.lengths!;
  const sorted = cut(sequence, SPAN * batchSize).flatMap((span) =>
    cut(Int32Array.from([...span].sort((a, b) => lengths[b]! - lengths[a]!)), batchSize),
  );
  const last = sorted.at(-1)!.length < batchSize ? [sorted.pop()!] : [];
  return [...randomStream(seed, 'order', `epoch-${epoch}-batches`).permutation(sorted.length)]
    .map((i) => sorted[i]!)
    .concat(last);
}

/** Row indexes of each batch, epoch after epoch, without end. */
export function* batches(order: BatchOrder): Generator<Int32Array, never> {
  for (let epoch = 0; ; epoch++) yield* epochBatches(order, epoch);
}

/** The batches of each step: `accumulate` of them, fewer at the end of an epoch. */
export function* stepBatches(
  order: BatchOrder,
  accumulate: number,
): Generator<Int32Array[], never> {
  for (let epoch = 0; ; epoch++) {
    const all = epochBatches(order, epoch);
    for (let start = 0; start < all.length; start += accumulate)
      yield all.slice(start, start + accumulate);
  }
}
