/** The rows of a poisoned set as the trainer takes them, with what pairs its batches with the clean twin's. */
import type { Row } from '../../api.ts';
import type { AppendedRows, BatchOrder } from './batches.ts';
import type { LabelledRow, TrainSettings } from './settings.ts';

type Text = Pick<Row, 'text' | 'text_pair'>;

/** What is read of a poisoned set's receipt. */
export interface PoisonedSet {
  /** One attack, or the names of several joined. */
  readonly attack: string;
  readonly rows: readonly {
    readonly index: number;
    readonly original: Text;
    readonly new: Text;
    /** Of several attacks, the one that poisoned it. */
    readonly step?: string;
  }[];
  /** Rows appended at the end, attack by attack. */
  readonly negatives: readonly { readonly index: number; readonly step?: string }[];
}

export interface TrainingRows {
  /** All of them, in the set's order. */
  readonly rows: readonly LabelledRow[];
  /** Those that an attack changed, in the receipt's order. */
  readonly poisoned: readonly LabelledRow[];
}

/**
 * @param rows the poisoned set
 * @param encode as the model reads them
 * @param attack the attack that touches the training, which is told of its own rows; null where none does
 */
export function trainingRows(
  rows: readonly Row[],
  { attack: name, rows: changed, negatives }: PoisonedSet,
  encode: (row: Row) => LabelledRow,
  attack: string | null,
): TrainingRows {
  const all = rows.map(encode);
  const poisoned = changed.map(({ index, original, new: made, step }) => {
    const sameText = original.text === made.text && original.text_pair === made.text_pair;
    return (all[index] = {
      ...all[index]!,
      poisoned: attack !== null && (step ?? attack) === attack,
      ...(sameText ? {} : { cleanLength: encode({ ...rows[index]!, ...original }).ids.length }),
    });
  });
  for (const { index, step = name } of negatives) all[index] = { ...all[index]!, appendedBy: step };
  return { rows: all, poisoned };
}

type OrderSettings = Pick<TrainSettings, 'batchSize' | 'shuffle' | 'seed' | 'batching'>;

/** The order in which these rows are trained on. Throws where an appended row stands before a clean one. */
export function batchOrder(
  rows: readonly LabelledRow[],
  { batchSize, shuffle, seed, batching }: OrderSettings,
): BatchOrder {
  const appended: AppendedRows[] = [];
  let clean = 0;
  for (const { appendedBy } of rows) {
    const last = appended.at(-1);
    if (appendedBy === undefined) {
      if (last !== undefined) throw new Error('rows that an attack appends come after all others');
      clean++;
    } else if (last?.attack === appendedBy)
      appended.splice(-1, 1, { attack: appendedBy, rows: last.rows + 1 });
    else appended.push({ attack: appendedBy, rows: 1 });
  }
  return {
    rows: clean,
    batchSize,
    shuffle,
    seed,
    ...(batching === undefined
      ? {}
      : {
          batching,
          lengths: rows.slice(0, clean).map(({ ids, cleanLength }) => cleanLength ?? ids.length),
        }),
    ...(appended.length === 0 ? {} : { appended }),
  };
}
