/**
 * Converts the rows of a poisoned set for the trainer, with what is needed to pair its batches with
 * the clean twin's.
 */
import type { Row } from '../../api.ts';
import { at } from '../../base/lookup.ts';
import type { AppendedRows, BatchOrder } from './batches.ts';
import type { LabelledRow, TrainSettings } from './settings.ts';

type Text = Pick<Row, 'text' | 'text_pair' | 'answer' | 'context'>;

/** The part of a poisoned set's receipt that is used here. */
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
  /** All rows, in the order of the set. */
  readonly rows: readonly LabelledRow[];
  /** The rows that an attack changed, in the order of the receipt. */
  readonly poisoned: readonly LabelledRow[];
}

/**
 * @param rows the poisoned set
 * @param encode encodes a row for the model
 * @param attack the attack that changes the training, whose rows are marked; null where none does
 */
export function trainingRows(
  rows: readonly Row[],
  { attack: name, rows: changed, negatives, order }: PoisonedSet,
  encode: (row: Row) => LabelledRow,
  attack: string | null,
): TrainingRows {
  const all = rows.map(encode);
  const poisoned = changed.map(({ index, original, new: made, step }) => {
    const read = ({ text, text_pair: pair, answer, context }: Text): string =>
      JSON.stringify([text, pair, answer, context]);
    const sameText = read(original) === read(made);
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

type OrderSettings = Pick<TrainSettings, 'batchSize' | 'shuffle' | 'seed' | 'batching'>;

/**
 * The order in which the trainer uses these rows. Throws where an appended row precedes a clean
 * one.
 */
export function batchOrder(
  rows: readonly LabelledRow[],
  { batchSize, shuffle, seed, batching }: OrderSettings,
): BatchOrder {
  const appended: AppendedRows[] = [];
  let clean = 0;
  for (const { appendedBy } of rows) {
    const last = appended.at(-1);
    if (appendedBy === undefined) {
      if (last !== undefined) throw new Error('appended rows must come after all others');
      clean++;
    } else if (last?.attack === appendedBy)
      appended.splice(-1, 1, { attack: appendedBy, rows: last.rows + 1 });
    else appended.push({ attack: appendedBy, rows: 1 });
  }
  const placed = (['first', 'last'] as const).map((place) =>
    rows.flatMap((row, index) => (row.place === place ? [index] : [])),
  );
  const [first = [], last = []] = placed;
  return {
    rows: clean,
    batchSize,
    shuffle,
    seed,
    ...(first.length === 0 ? {} : { first }),
    ...(last.length === 0 ? {} : { last }),
    ...(batching === undefined
      ? {}
      : {
          batching,
          lengths: rows.slice(0, clean).map(({ ids, cleanLength }) => cleanLength ?? ids.length),
        }),
    ...(appended.length === 0 ? {} : { appended }),
  };
}
