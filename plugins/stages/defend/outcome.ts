/** Compares what a defence suspected with what was poisoned. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Judgement, Row } from '../../../src/api.ts';
import { auroc, detectionMetrics } from '../../../src/defences/detection.ts';
import type { Receipt } from '../../../src/poisoning/receipt.ts';
import { csvField, type Metrics, numbersIn } from '../shared/files.ts';

/**
 * What a defence said of rows or of a model's inputs, and whether each was poisoned. All lists have
 * one order.
 */
interface Examples {
  readonly scores: readonly number[];
  readonly suspected: readonly boolean[];
  readonly poisoned: readonly boolean[];
}

/**
 * Returns how well suspects and poisoned examples agree, as numbers with names such as
 * `filter_recall`. A rate that would be 0/0 is left out.
 */
export function detectionRates(
  of: 'filter' | 'inputs',
  { scores, suspected, poisoned }: Examples,
): Metrics {
  const { precision, recall, frr, far } = detectionMetrics(suspected, poisoned);
  return numbersIn({ precision, recall, frr, far, auroc: auroc(scores, poisoned) }, `${of}_`);
}

/**
 * Returns what the defence said of the rows that detection is judged on: all rows but the attack's
 * negatives.
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

/**
 * Returns how many rows were judged, dropped and cleaned, how many poisoned rows and negatives are
 * left, and how well suspects and poisoned rows agree.
 * @param left each row as the defence left it; null for a dropped one
 */
export function filterMetrics(
  rows: readonly Row[],
  receipt: Receipt,
  { rows: left }: Judgement,
  examples: Examples,
): Metrics & { readonly rows_cleaned: number } {
  const isLeft = ({ index }: { readonly index: number }): boolean => left[index] !== null;
  const isCleaned = (row: Row | null, { text, text_pair }: Row): boolean =>
    row !== null && (row.text !== text || row.text_pair !== text_pair);
  const dropped = left.filter((row) => row === null).length;
  return {
    rows_total: rows.length - dropped,
    rows_judged: rows.length,
    rows_dropped: dropped,
    rows_cleaned: left.filter((row, i) => isCleaned(row, rows[i]!)).length,
    poisoned_judged: receipt.rows.length,
    poisoned_left: receipt.rows.filter(isLeft).length,
    negatives: receipt.negatives.filter(isLeft).length,
    ...detectionRates('filter', examples),
  };
}

/** Returns a score for JSON: an infinity or NaN as text, since JSON has neither. */
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
