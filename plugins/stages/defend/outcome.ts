/** Compares what a defence suspected with what the receipt says was poisoned. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Judgement, Row } from '../../../src/api.ts';
import { auroc, detectionMetrics } from '../../../src/defences/detection.ts';
import type { Receipt } from '../../../src/poisoning/receipt.ts';
import { csvField, type Metrics, numbersIn } from '../shared/files.ts';

/** What a defence said of rows, or inputs, and whether they were poisoned; in one order. */
interface Examples {
  readonly scores: readonly number[];
  readonly suspected: readonly boolean[];
  readonly poisoned: readonly boolean[];
}

/**
 * Returns how well suspects and poisoned examples agree. A rate that divides by zero is left out,
 * as is AUROC without examples of both kinds.
 * @param of what was judged; each rate is named after it
 */
export function detectionRates(
  of: 'filter' | 'inputs',
  { scores, suspected, poisoned }: Examples,
): Metrics {
  const { precision, recall, frr, far } = detectionMetrics(suspected, poisoned);
  const rates = { precision, recall, frr, far, auroc: auroc(scores, poisoned) };
  return Object.fromEntries(numbersIn(rates, `${of}_`));
}

/**
 * Returns the rows that detection is judged on. An attack's negatives, true labels with a part of
 * the trigger, are neither poisoned nor the defender's own rows, and are left out.
 */
export function judgedExamples(
  rows: readonly Row[],
  receipt: Receipt,
  { scores, suspected }: Judgement,
): Examples & { readonly ids: readonly string[] } {
  const negatives = new Set(receipt.negatives.map(({ index }) => index));
  const poisoned = new Set(receipt.rows.map(({ index }) => index));
  const indexes = rows.map((_, i) => i).filter((i) => !negatives.has(i));
  return {
    ids: indexes.map((i) => rows[i]!.id),
    scores: indexes.map((i) => scores[i]!),
    suspected: indexes.map((i) => suspected[i]!),
    poisoned: indexes.map((i) => poisoned.has(i)),
  };
}

/** Returns the metrics of a stage that filtered these rows. */
export function filterMetrics(
  rows: readonly Row[],
  receipt: Receipt,
  judgement: Judgement,
): Metrics & { readonly rows_cleaned: number } {
  const poisoned = new Set(receipt.rows.map(({ index }) => index));
  const { rows: left } = judgement;
  const dropped = left.filter((row) => row === null).length;
  const negatives = receipt.negatives.filter(({ index }) => left[index] !== null).length;
  return {
    rows_total: rows.length - dropped,
    rows_judged: rows.length,
    rows_dropped: dropped,
    rows_cleaned: left.filter((row, i) => row !== null && isCleaned(row, rows[i])).length,
    poisoned_judged: poisoned.size,
    poisoned_left: [...poisoned].filter((i) => left[i] !== null).length,
    negatives,
    ...detectionRates('filter', judgedExamples(rows, receipt, judgement)),
  };
}

const isCleaned = (row: Row, original: Row | undefined): boolean =>
  row.text !== original?.text || row.text_pair !== original.text_pair;

/** Returns a score for JSON: infinities as text, since JSON has none. */
export const scoreForJson = (value: number | null): number | string | null =>
  value === null || Number.isFinite(value) ? value : String(value);

/** Writes `scores.csv` (RFC 4180) with the columns id, score, suspected, poisoned. */
export async function writeScores(
  outDir: string,
  ids: readonly string[],
  { scores, suspected, poisoned }: Examples,
): Promise<void> {
  const lines = ids.map((id, i) =>
    [csvField(id), scores[i]!, Number(suspected[i]), Number(poisoned[i])].join(','),
  );
  const text = ['id,score,suspected,poisoned', ...lines].join('\n');
  await writeFile(join(outDir, 'scores.csv'), `${text}\n`);
}
