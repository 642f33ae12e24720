/**
 * Applies a defence's judgement of a poisoned set: the rows that are left, and their receipt. The
 * defence itself never sees a receipt.
 */
import { isDeepStrictEqual } from 'node:util';
import { type Judgement, type Row, UserFault } from '../api.ts';
import { defined } from '../base/defined.ts';
import { isRecord } from '../base/untrusted/json.ts';
import { contentOf, type Receipt, rowsDigest } from './receipt.ts';

const isList = (value: unknown, length: number): value is readonly unknown[] =>
  Array.isArray(value) && value.length === length;

/**
 * Returns the first fault of a judgement, worded to follow "the defence …"; null if there is none.
 */
function judgementFault(rows: readonly Row[], judgement: unknown): string | null {
  const { scores, suspected, rows: left } = isRecord(judgement) ? judgement : {};
  const count = rows.length;
  if (!isList(scores, count) || !scores.every((score) => typeof score === 'number'))
    return `must return \`scores\`, a number for each of ${count} rows`;
  const wrong = scores.findIndex((score) => Number.isNaN(score));
  if (wrong >= 0) return `gave row ${rows[wrong]?.id ?? ''} a score that is not a number`;
  if (!isList(suspected, count) || !suspected.every((value) => typeof value === 'boolean'))
    return `must return \`suspected\`, true or false for each of ${count} rows`;
  if (!isList(left, count)) return `must return \`rows\`, a row or null for each of ${count} rows`;
  const strange = left.findIndex((row, i) => {
    const own = rows[i]!;
    if (row === null || row === own) return false;
    return !(isRecord(row) && typeof row['text'] === 'string' && isSameButForTexts(row, own));
  });
  return strange < 0
    ? null
    : `returned something else in the place of row ${rows[strange]?.id ?? ''}: it may change ` +
        "a row's texts, and nothing else of it";
}

const isSameButForTexts = (row: Partial<Row>, original: Row): boolean =>
  row.id === original.id &&
  typeof row.text_pair === typeof original.text_pair && // a pair stays one
  row.label === original.label &&
  row.answer === original.answer &&
  row.rejected === original.rejected &&
  row.document === original.document &&
  isDeepStrictEqual(row.context, original.context);

/** Throws `UserFault` if the judgement does not fit the rows: defences may be anyone's code. */
export function checkJudgement(defence: string, rows: readonly Row[], judgement: Judgement): void {
  const fault = judgementFault(rows, judgement);
  if (fault !== null)
    throw new UserFault(
      `the defence "${defence}" ${fault}`,
      '`Judgement` in src/api/defence.ts says what a judge returns.',
    );
}

/** Returns the rows that the defence left. Throws `UserFault` if there is none. */
export function keptRows(defence: string, { rows }: Judgement): Row[] {
  const kept = rows.filter((row) => row !== null);
  if (kept.length === 0)
    throw new UserFault(
      `the defence "${defence}" left none of the ${rows.length} rows to train on`,
      'Raise its threshold.',
    );
  return kept;
}

/**
 * Returns the receipt of the rows that a defence left, with their new indexes.
 * @param left what is left of each row of the poisoned set, in the order of the set; null where
 *   nothing is
 */
export function receiptOfKept(receipt: Receipt, left: readonly (Row | null)[]): Receipt {
  const kept = left.filter((row) => row !== null);
  let next = 0;
  const places = left.map((row) => (row === null ? -1 : next++)); // −1: dropped
  /** Returns the new index of the row at an index of the poisoned set; −1 if it was dropped. */
  const placeOf = (index: number): number => places[index] ?? -1;
  const rows = receipt.rows.flatMap((entry) => {
    const row = left[entry.index];
    return row ? [{ ...entry, index: placeOf(entry.index), new: contentOf(row) }] : [];
  });
  const negatives = receipt.negatives.flatMap((entry) => {
    const row = left[entry.index];
    return row ? [{ ...entry, ...contentOf(row), index: placeOf(entry.index) }] : [];
  });
  const originals = new Map(receipt.rows.map(({ index, original }) => [index, original]));
  const added = new Set(receipt.negatives.map(({ index }) => index));
  // The rows left, with their content before the attack; the attack's negatives are left out.
  const clean = left.flatMap((row, i) =>
    row === null || added.has(i) ? [] : [{ ...row, ...originals.get(i) }],
  );
  const steps = receipt.steps?.map(({ attack, counts }) => {
    const made = rows.filter(({ step }) => step === attack).length;
    const more = negatives.filter(({ step }) => step === attack).length;
    return { attack, counts: { ...counts, asked: made, made, negatives: more } };
  });
  const { order = { first: [], last: [] }, ...rest } = receipt;
  const moved = (fixed: readonly number[]): number[] => fixed.map(placeOf).filter((at) => at >= 0);
  const [first, last] = [moved(order.first), moved(order.last)];
  return {
    ...rest,
    ...defined({ order: first.length + last.length > 0 ? { first, last } : undefined }),
    counts: {
      ...receipt.counts,
      total: kept.length,
      asked: rows.length,
      made: rows.length,
      negatives: negatives.length,
    },
    ...defined({ steps }),
    digests: { clean: rowsDigest(clean), poisoned: rowsDigest(kept) },
    rows,
    negatives,
  };
}
