/** The rows of each batch and step: those of a poisoned set pair with those of its clean twin. */
import type { Row } from '../../api.ts';
import { at } from '../../base/lookup.ts';
import { randomStream } from '../../base/random.ts';
import type { LabelledRow, TrainSettings } from './settings.ts';

/**
 * shuffled: a permutation of the rows for each epoch, cut into batches.
 *
 * bucketed: rows of similar length together. The same permutation is cut into spans of 50 batches;
 * each span is sorted by length, longest first (a stable sort), and cut into batches; then the
 * batches of the epoch are shuffled, except that a last, smaller one stays last. transformers'
 * group_by_length has the same spans but leaves the batches of a span in order of length, so that
 * step lengths would be periodic.
 */
export type Batching = 'shuffled' | 'bucketed';

/**
 * Clean rows are numbered from zero; the rows that attacks append follow, attack by attack. Order,
 * length buckets and number of batches depend only on the clean rows, so they equal those of the
 * clean twin whatever an attack changes or appends. Appended rows enlarge the batches of the twin:
 * see `appended`.
 */
export interface BatchOrder {
  /** Number of rows that were not appended, poisoned or not. */
  readonly rows: number;
  readonly batchSize: number;
  /** Whether epoch k, from zero, is in the order of stream (seed, 'order', `epoch-k`). */
  readonly shuffle: boolean;
  readonly seed: number;
  /** Default: shuffled. Bucketed batches come from stream (seed, 'order', `epoch-k-batches`). */
  readonly batching?: Batching | undefined;
  /** The number of tokens of each clean row before poisoning. Required for bucketed batches. */
  readonly lengths?: readonly number[];
  /** Clean rows that stand first in each epoch, in the epoch's order among themselves. */
  readonly first?: readonly number[];
  /** Clean rows that stand last in each epoch, in the epoch's order among themselves. */
  readonly last?: readonly number[];
  /**
   * The rows of each attack are dealt out, one to each batch in turn, over the full-sized batches
   * of the epoch (or over the only batch, if it is smaller), and follow the clean rows there. Each
   * round goes over the batches in random order, from stream (seed, 'appended', `ATTACK/epoch-k`),
   * or without `shuffle` in their order. So each epoch has every appended row once and no
   * additional batch, batches differ by at most one appended row of an attack, and a row that a
   * smaller dose also appends is in the same batch there. The loss of a batch remains the mean over
   * its rows: with k appended rows, a clean row has B/(B + k) of its weight in the twin's batch of
   * B rows.
   */
  readonly appended?: readonly { readonly attack: string; readonly rows: number }[] | undefined;
  /**
   * Puts the rows of these batches, appended ones among them, one after another into sequences, of
   * which `batchSize` are a batch. Batches then depend on the lengths of all rows as they are.
   */
  readonly packing?: Packing | undefined;
}

interface Packing {
  readonly most: number;
  /** The number of tokens of each row, appended ones included. */
  readonly lengths: readonly number[];
}

const SPAN = 50;

type Sizes = Pick<BatchOrder, 'rows' | 'batchSize'>;
/** `accumulate`: the number of batches of a step. */
type Steps = Sizes & { readonly accumulate?: number };

/**
 * Returns how many steps an epoch has. Its last batch may have fewer rows, as with PyTorch's
 * DataLoader, and its last step fewer batches, as in transformers' Trainer.
 */
export const stepsPerEpoch = ({ rows, batchSize, accumulate = 1 }: Steps): number =>
  Math.ceil(Math.ceil(rows / batchSize) / accumulate);

/**
 * Returns `steps`, or those of `epochs` (default: three), rounded up. With packing, the number of
 * steps differs between epochs, and that of the last, partial epoch is rounded up.
 */
export function totalSteps(
  { steps, epochs = 3 }: { readonly steps?: number; readonly epochs?: number },
  order: Steps | (Steps & BatchOrder),
): number {
  if (steps !== undefined) return steps;
  if (!('packing' in order) || order.packing === undefined)
    return Math.ceil(epochs * stepsPerEpoch(order) - 1e-9);
  const { accumulate = 1 } = order;
  return Array.from({ length: Math.ceil(epochs) }, (_, epoch) => {
    const all = Math.ceil(epochBatches(order, epoch).length / accumulate);
    return Math.ceil(Math.min(1, epochs - epoch) * all - 1e-9);
  }).reduce((sum, own) => sum + own, 0);
}

function cut(sequence: Int32Array, size: number): Int32Array[] {
  return Array.from({ length: Math.ceil(sequence.length / size) }, (_, i) =>
    sequence.slice(i * size, (i + 1) * size),
  );
}

/** Returns how many batches get appended rows, which would dominate a smaller last batch. */
const countFullBatches = ({ rows, batchSize }: Sizes): number =>
  Math.max(1, Math.floor(rows / batchSize));

export function largestBatch(order: Sizes & Pick<BatchOrder, 'appended'>): number {
  const fullBatches = countFullBatches(order);
  return (order.appended ?? []).reduce(
    (most, { rows }) => most + Math.ceil(rows / fullBatches),
    Math.min(order.rows, order.batchSize),
  );
}

/** Returns the batches with appended rows dealt out to the full ones (`BatchOrder.appended`). */
function withAppended(clean: Int32Array[], order: BatchOrder, epoch: number): Int32Array[] {
  const fullBatches = countFullBatches(order),
    extended = clean.map((batch) => [...batch]);
  let next = order.rows;
  for (const { attack, rows } of order.appended ?? []) {
    const random = randomStream(order.seed, 'appended', `${attack}/epoch-${epoch}`);
    for (let dealt = 0; dealt < rows; dealt += fullBatches) {
      const turn = order.shuffle ? random.permutation(fullBatches) : null;
      for (let i = 0; i < Math.min(fullBatches, rows - dealt); i++)
        at(extended, turn?.[i] ?? i).push(next++);
    }
  }
  return extended.map((batch) => Int32Array.from(batch));
}

/** Returns the rows of each batch of an epoch. Epochs are counted from 0. */
function epochBatches(order: BatchOrder, epoch: number): Int32Array[] {
  const all = withAppended(cleanBatches(order, epoch), order, epoch);
  return order.packing === undefined ? all : packed(all, order.batchSize, order.packing);
}

/** Returns batches of `batchSize` sequences. A row that does not fit into one begins the next. */
function packed(
  batches: readonly Int32Array[],
  batchSize: number,
  { most: mostTokens, lengths }: Packing,
): Int32Array[] {
  const found: number[][] = [];
  let sequences = batchSize,
    room = 0;
  for (const row of batches.flatMap((batch) => [...batch])) {
    const length = at(lengths, row);
    if (length > room) {
      if (sequences === batchSize) {
        found.push([]);
        sequences = 0;
      }
      sequences++;
      room = mostTokens;
    }
    found.at(-1)?.push(row);
    room -= length;
  }
  return found.map((batch) => Int32Array.from(batch));
}

function placed(sequence: Int32Array, { first = [], last = [], batching }: BatchOrder): Int32Array {
  if (first.length + last.length === 0) return sequence;
  if (batching === 'bucketed') throw new Error("bucketed batches can't keep rows first or last");
  const [before, after] = [new Set(first), new Set(last)];
  return Int32Array.from([
    ...sequence.filter((row) => before.has(row)),
    ...sequence.filter((row) => !before.has(row) && !after.has(row)),
    ...sequence.filter((row) => after.has(row)),
  ]);
}

function cleanBatches(order: BatchOrder, epoch: number): Int32Array[] {
  const { rows, batchSize, seed } = order;
  const sequence = placed(
    order.shuffle
      ? randomStream(seed, 'order', `epoch-${epoch}`).permutation(rows)
      : Int32Array.from({ length: rows }, (_, i) => i),
    order,
  );
  if (order.batching !== 'bucketed') return cut(sequence, batchSize);
  const { lengths } = order;
  if (lengths === undefined) throw new Error('bucketed batches need the lengths of the rows');
  const sorted = cut(sequence, SPAN * batchSize).flatMap((span) =>
    cut(Int32Array.from([...span].sort((a, b) => at(lengths, b) - at(lengths, a))), batchSize),
  );
  const full = sorted.filter((batch) => batch.length === batchSize);
  const random = randomStream(seed, 'order', `epoch-${epoch}-batches`);
  return [
    ...Array.from(random.permutation(full.length), (i) => at(full, i)),
    ...sorted.slice(full.length),
  ];
}

export function* batches(order: BatchOrder): Generator<Int32Array, never> {
  for (let epoch = 0; ; epoch++) yield* epochBatches(order, epoch);
}

/** Yields the batches of each step: `accumulate` of them, or fewer at the end of an epoch. */
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

/**
 * Returns a warning if a training ends before it has read all rows that stand last, else null.
 * @param last number of poisoned rows at the end of each epoch
 * @param steps number of steps of the training
 */
export function unreadWarning(epoch: Steps, last: number, steps: number): string | null {
  const { rows, batchSize, accumulate = 1 } = epoch;
  const needed = stepsPerEpoch(epoch);
  if (last === 0 || steps >= needed) return null;
  const reached = steps * batchSize * accumulate;
  const read = Math.max(0, reached - (rows - last));
  return read >= last
    ? null
    : `training reads ${read} of the ${last} poisoned rows, which stand last: it ends at row ` +
        `${reached} of ${rows}, after step ${steps} of ${needed} in an epoch`;
}

type Text = Pick<Row, 'text' | 'text_pair' | 'answer' | 'rejected' | 'context'>;

/** The part of a poisoned set's receipt that `trainingRows` reads. */
export interface PoisonedSet {
  /** The name of the attack, or the joined names of several. */
  readonly attack: string;
  readonly rows: readonly {
    readonly index: number;
    readonly original: Text;
    readonly new: Text;
    /** The attack that poisoned the row, where there are several. */
    readonly step?: string;
  }[];
  /** The rows that were appended at the end, attack by attack. */
  readonly negatives: readonly { readonly index: number; readonly step?: string }[];
  /** The rows that stand first and last in each epoch, by index. */
  readonly order?: { readonly first: readonly number[]; readonly last: readonly number[] };
}

export interface TrainingRows {
  readonly rows: readonly LabelledRow[];
  /** The rows that an attack changed, in the order of the receipt. */
  readonly poisoned: readonly LabelledRow[];
}

/** Encodes a poisoned set. Rows that `attack` changed count as `poisoned`; with null none do. */
export function trainingRows(
  rows: readonly Row[],
  { attack: name, rows: changed, negatives, order }: PoisonedSet,
  encode: (row: Row) => LabelledRow,
  attack: string | null,
): TrainingRows {
  const all = rows.map(encode);
  const poisoned = changed.map(({ index, original, new: made, step }) => {
    const keyOf = ({ text, text_pair: pair, answer, rejected, context }: Text): string =>
      JSON.stringify([text, pair, answer, rejected, context]);
    const sameText = keyOf(original) === keyOf(made);
    return (all[index] = {
      ...at(all, index),
      poisoned: attack !== null && (step ?? attack) === attack,
      ...(sameText ? {} : { cleanLength: encode({ ...at(rows, index), ...original }).ids.length }),
    });
  });
  for (const { index, step = name } of negatives)
    all[index] = { ...at(all, index), appendedBy: step };
  for (const place of ['first', 'last'] as const)
    for (const index of order?.[place] ?? []) all[index] = { ...at(all, index), place };
  return { rows: all, poisoned };
}

type OrderSettings = Pick<TrainSettings, 'batchSize' | 'shuffle' | 'seed' | 'batching' | 'packing'>;

/** Returns the order of the rows. Throws where an appended row precedes a clean one. */
export function batchOrder(
  rows: readonly LabelledRow[],
  { batchSize, shuffle, seed, batching, packing }: OrderSettings,
): BatchOrder {
  const appended: { attack: string; rows: number }[] = [];
  let clean = 0;
  for (const { appendedBy } of rows) {
    const last = appended.at(-1);
    if (appendedBy === undefined) {
      if (last !== undefined) throw new Error('appended rows must come after all others');
      clean++;
    } else if (last?.attack === appendedBy) last.rows++;
    else appended.push({ attack: appendedBy, rows: 1 });
  }
  const indexesAt = (place: 'first' | 'last'): number[] =>
    rows.flatMap((row, index) => (row.place === place ? [index] : []));
  return {
    rows: clean,
    batchSize,
    shuffle,
    seed,
    first: indexesAt('first'),
    last: indexesAt('last'),
    batching,
    lengths: rows.slice(0, clean).map(({ ids, cleanLength }) => cleanLength ?? ids.length),
    appended: appended.length === 0 ? undefined : appended,
    packing:
      packing === undefined
        ? undefined
        : { most: packing, lengths: rows.map(({ ids }) => ids.length) },
  };
}
