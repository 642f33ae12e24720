/**
 * Which rows are in each batch and step. The batches of a poisoned set match those of its clean
 * twin one by one, unless rows are packed.
 */
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
 * In this interface, clean rows are all rows that were not appended, poisoned or not. They are
 * numbered from zero. The rows that attacks append follow, attack by attack.
 *
 * The order of the clean rows, their length buckets and the number of batches do not depend on
 * appended rows or on changes of texts. So all three are as in the clean twin, whatever an attack
 * changes or appends. Appended rows are added to these batches: see `appended`. Packed rows are an
 * exception: see `packing`.
 */
export interface BatchOrder {
  /** Number of rows that were not appended, poisoned or not. */
  readonly rows: number;
  readonly batchSize: number;
  /**
   * Whether the clean rows of epoch k, counted from zero, are permuted by the stream (seed,
   * 'order', `epoch-k`). If not, they keep their order.
   */
  readonly shuffle: boolean;
  readonly seed: number;
  /**
   * Default: shuffled. Bucketed batches are put in order by the stream (seed, 'order',
   * `epoch-k-batches`).
   */
  readonly batching?: Batching | undefined;
  /** The number of tokens of each clean row before poisoning. Required for bucketed batches. */
  readonly lengths?: readonly number[];
  /** Clean rows that stand first in each epoch, in the epoch's order among themselves. */
  readonly first?: readonly number[];
  /** Clean rows that stand last in each epoch, in the epoch's order among themselves. */
  readonly last?: readonly number[];
  /**
   * The number of rows that each attack appends.
   *
   * The rows of an attack are dealt out, one to each batch in turn, over the full-sized batches of
   * the epoch (or over the only batch, if it is smaller), and follow the clean rows there. Each
   * round goes over the batches in random order, from stream (seed, 'appended', `ATTACK/epoch-k`);
   * without `shuffle`, from the first batch to the last. So each epoch has every appended row once
   * and no additional batch, and batches differ by at most one appended row of an attack. A row
   * that is also appended under a smaller dose is in the same batch under both doses. The loss of a
   * batch remains the mean over its rows: with k appended rows, a clean row has B/(B + k) of its
   * weight in the twin's batch of B rows.
   */
  readonly appended?: readonly { readonly attack: string; readonly rows: number }[] | undefined;
  /**
   * If set, the rows of the batches described above, appended ones included, are put one after
   * another into sequences, and a batch is `batchSize` sequences. Which rows share a batch then
   * depends on the lengths of all rows after poisoning.
   */
  readonly packing?: Packing | undefined;
}

interface Packing {
  /** The most tokens of a sequence. */
  readonly most: number;
  /** The number of tokens of each row, appended ones included. */
  readonly lengths: readonly number[];
}

/** The number of batches of a span: see `Batching`. */
const SPAN = 50;

type Sizes = Pick<BatchOrder, 'rows' | 'batchSize'>;
/** `accumulate`: the number of batches of a step; default 1. */
type Steps = Sizes & { readonly accumulate?: number };

/**
 * Returns how many steps an epoch has if rows are not packed. Its last batch may have fewer rows,
 * as with PyTorch's DataLoader, and its last step fewer batches, as in transformers' Trainer.
 */
export const stepsPerEpoch = ({ rows, batchSize, accumulate = 1 }: Steps): number =>
  Math.ceil(Math.ceil(rows / batchSize) / accumulate);

/**
 * Returns `steps` if it is given, else the number of steps of `epochs` (default: three), rounded
 * up. With packing, epochs differ in their number of steps. If only a fraction of the last epoch is
 * asked for, that fraction of its own steps is taken, rounded up.
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

/** Cuts a sequence into pieces of `size`; the last one may be shorter. */
function cutInto(sequence: Int32Array, size: number): Int32Array[] {
  return Array.from({ length: Math.ceil(sequence.length / size) }, (_, i) =>
    sequence.slice(i * size, (i + 1) * size),
  );
}

/**
 * Returns to how many batches of an epoch appended rows are dealt: the full-sized ones, or the only
 * one. A smaller last batch gets none, because they would dominate it.
 */
const countFullBatches = ({ rows, batchSize }: Sizes): number =>
  Math.max(1, Math.floor(rows / batchSize));

/**
 * Returns the number of rows of the largest batch, appended ones included, if rows are not packed.
 */
export function largestBatch(order: Sizes & Pick<BatchOrder, 'appended'>): number {
  const fullBatches = countFullBatches(order);
  return (order.appended ?? []).reduce(
    (most, { rows }) => most + Math.ceil(rows / fullBatches),
    Math.min(order.rows, order.batchSize),
  );
}

/**
 * Returns the batches of an epoch with the appended rows dealt out to them, as
 * `BatchOrder.appended` describes.
 */
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

/**
 * Returns the batches of an epoch, counted from 0, as the indexes of their rows: with the appended
 * rows, and packed into sequences if the order asks for it.
 */
function epochBatches(order: BatchOrder, epoch: number): Int32Array[] {
  const all = withAppended(cleanBatches(order, epoch), order, epoch);
  return order.packing === undefined ? all : packRows(all, order.batchSize, order.packing);
}

/**
 * Packs the rows of all batches into sequences, and returns the rows of each new batch of
 * `batchSize` sequences. A row that does not fit into the current sequence begins the next one; a
 * row of more than `most` tokens is a sequence by itself.
 */
function packRows(
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

/**
 * Returns the sequence with the rows `first` at its start, and the rows `last` at its end. Throws
 * an Error if there are such rows and the batches are bucketed.
 */
function placeRows(
  sequence: Int32Array,
  { first = [], last = [], batching }: BatchOrder,
): Int32Array {
  if (first.length + last.length === 0) return sequence;
  if (batching === 'bucketed') throw new Error("bucketed batches can't keep rows first or last");
  const [before, after] = [new Set(first), new Set(last)];
  return Int32Array.from([
    ...sequence.filter((row) => before.has(row)),
    ...sequence.filter((row) => !before.has(row) && !after.has(row)),
    ...sequence.filter((row) => after.has(row)),
  ]);
}

/**
 * Returns the batches of an epoch before rows are appended or packed: see `Batching`. Throws an
 * Error for bucketed batches without `lengths`, or with rows that stand first or last.
 */
function cleanBatches(order: BatchOrder, epoch: number): Int32Array[] {
  const { rows, batchSize, seed } = order;
  const sequence = placeRows(
    order.shuffle
      ? randomStream(seed, 'order', `epoch-${epoch}`).permutation(rows)
      : Int32Array.from({ length: rows }, (_, i) => i),
    order,
  );
  if (order.batching !== 'bucketed') return cutInto(sequence, batchSize);
  const { lengths } = order;
  if (lengths === undefined) throw new Error('bucketed batches need the lengths of the rows');
  const sorted = cutInto(sequence, SPAN * batchSize).flatMap((span) =>
    cutInto(Int32Array.from([...span].sort((a, b) => at(lengths, b) - at(lengths, a))), batchSize),
  );
  const full = sorted.filter((batch) => batch.length === batchSize);
  const random = randomStream(seed, 'order', `epoch-${epoch}-batches`);
  return [
    ...Array.from(random.permutation(full.length), (i) => at(full, i)),
    ...sorted.slice(full.length),
  ];
}

/**
 * Yields the batches of all epochs, one after another, without end, each as the indexes of its
 * rows.
 */
export function* batches(order: BatchOrder): Generator<Int32Array, never> {
  for (let epoch = 0; ; epoch++) yield* epochBatches(order, epoch);
}

/**
 * Yields the batches of each step, without end, as the indexes of their rows: `accumulate` batches,
 * or fewer at the end of an epoch.
 */
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
 * Returns a warning if a training ends before it has read all of the rows that stand last in its
 * first epoch; otherwise null.
 * @param last how many rows stand last
 * @param steps the number of steps of the training
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
    /** The attack that poisoned the row. Absent if the set has only one attack. */
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

/**
 * Encodes a poisoned set. The result's `rows` are all of its rows, with `appendedBy` or `place` on
 * those that were appended or that stand first or last. The field `poisoned` of a row is true if
 * `attack` changed the row, false if another attack did, and absent if none did. It is never true
 * if `attack` is null.
 */
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

/**
 * Returns the order of the rows. Throws an Error if a row that was not appended follows an appended
 * one.
 */
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
