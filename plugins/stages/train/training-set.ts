/** Reads the rows of a training as the poison stage wrote them, and encodes them for the model. */
import { isDeepStrictEqual } from 'node:util';
import { type Row, UserFault } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { readRows } from '../../../src/data/rows-file.ts';
import { readReceipt, type Receipt } from '../../../src/poisoning/receipt.ts';
import {
  encodePair,
  pairParts,
  rowEncoder,
  rowParts,
  triggerSeen,
  unchangedShare,
  warnOfCut,
  warnOfUnseen,
} from '../../../src/science/text/encoder.ts';
import type { TextTokenizer } from '../../../src/science/text/tokenizer.ts';
import {
  type BatchOrder,
  batchOrder,
  largestBatch,
  trainingRows,
} from '../../../src/science/training/batches.ts';
import type { LabelledRow, TrainParams } from '../../../src/science/training/settings.ts';
import { inputDir } from '../shared/files.ts';
import type { Context } from './params.ts';

export interface PoisonedSet {
  readonly rows: readonly Row[];
  readonly receipt: Receipt;
}

/** Reads the rows and their receipt. Throws UserFault if there is no row, or the two disagree. */
export async function readPoisonedSet(context: Context): Promise<PoisonedSet> {
  const dir = inputDir(context, 'data');
  const rows = await readRows(dir);
  const receipt = await readReceipt(dir, rows);
  if (rows.length === 0) throw new UserFault('there are no rows to train on');
  return { rows, receipt };
}

type Encode = (row: Row, maxLength: number) => LabelledRow;

export interface EncodedSet {
  readonly encode: Encode;
  readonly rows: readonly LabelledRow[];
  readonly poisoned: readonly LabelledRow[];
  readonly order: BatchOrder;
  /** The share of rewritten rows whose whole trigger the model reads. Null without such rows. */
  readonly triggerSeen: number | null;
  /** The field `appended` of `train.json`. Null if no row is appended, or rows are packed. */
  readonly appended: { readonly rows: number; readonly largest_batch: number } | null;
}

/**
 * Encodes a set's rows, in its order, and decides in which batches they are read (`order`). Warns
 * of documents and triggers that `max_length` cuts, and logs how many rows the attack appends.
 * @param attack the name of the attack that changes the training itself, and is told which rows it
 * poisoned; null if none does
 */
export function encodeSet(
  { params, log, warn }: Context,
  training: TrainParams,
  { rows, receipt }: PoisonedSet,
  tokenizer: TextTokenizer,
  attack: string | null,
): EncodedSet {
  const encodeTexts = rowEncoder(tokenizer, params.head);
  const encode: Encode = (row, maxLength) => ({ ...encodeTexts(row, maxLength), label: row.label });
  const { max_length: maxLength, batch_size: batchSize, shuffle, loss_on: lossOn } = training;
  // Marks the tokens that the loss is on, where these are not the whole answer.
  const encodeWithMarks = rowEncoder(tokenizer, params.head, lossOn ?? 'answer');
  /** Encodes a row; for DPO, its chosen answer, with the other one as `rejected`. */
  const encodeTrainingRow = (row: Row): LabelledRow => {
    if (training.dpo_beta === undefined)
      return { ...encodeWithMarks(row, maxLength), label: row.label };
    const [chosen, rejected] = encodePair(row, maxLength, encodeTexts);
    return { ...chosen, rejected, label: row.label };
  };
  const encoded = trainingRows(rows, receipt, encodeTrainingRow, attack);
  const documents = encoded.rows.filter((_, i) => rows[i]?.document);
  warnOfCut(warn, documents, tokenizer, { section: 'train', maxLength });
  const rewritten = rewrittenRows(receipt.rows),
    [before, after] = [rewritten.map(({ original }) => original), rewritten.map((row) => row.new)];
  let seen: number | null = null;
  if (rewritten.length > 0) {
    const parts = rowParts(tokenizer, params.head);
    const read = training.dpo_beta === undefined ? parts : pairParts(parts);
    seen = triggerSeen(before, after, read, maxLength);
    const unchanged = unchangedShare(before, after);
    const path = ['train', 'max_length'];
    // The receipt tells that there is a trigger only for a single attack with a target class.
    const isTrigger = receipt.target !== undefined && receipt.steps === undefined,
      what = isTrigger ? 'the trigger' : 'what the attack changes';
    warnOfUnseen(warn, seen, 'the poisoned rows', { path, maxLength, unchanged, what });
  }
  const packing = training.packing === true ? maxLength : undefined;
  const settings = { batchSize, shuffle, seed: params.seed, ...defined({ packing }) };
  const order = batchOrder(encoded.rows, settings);
  const appended =
    order.appended === undefined || packing !== undefined
      ? null
      : { rows: rows.length - order.rows, largest_batch: largestBatch(order) };
  if (appended !== null)
    log(
      `the attack appends ${appended.rows} rows to ${order.rows}: they extend the clean twin's ` +
        `batches, to ${appended.largest_batch} rows at most`,
    );
  // Without `marks`, an evaluation scores the answer, whatever tokens the loss is on.
  const poisoned = encoded.poisoned.map(({ marks: _, ...row }) => row);
  return { ...encoded, poisoned, encode, order, triggerSeen: seen, appended };
}

/**
 * Returns the poisoned rows of the attacks that change texts, and so may have a trigger: all rows
 * of an attack if it changes the text of one.
 */
function rewrittenRows(poisoned: Receipt['rows']): Receipt['rows'] {
  const rewriting = new Set(
    poisoned
      .filter(
        ({ original, new: row }) =>
          original.text !== row.text ||
          original.text_pair !== row.text_pair ||
          !isDeepStrictEqual(original.context, row.context),
      )
      .map(({ step }) => step),
  );
  return poisoned.filter(({ step }) => rewriting.has(step));
}
