/**
 * Writes predictions.csv (RFC 4180) with the columns id, triggered, label, prediction, logit_0, …
 * Other programs match rows by id, so each id is written exactly as the data set has it, unlike in
 * the CSV files for people. A spreadsheet may take such an id for a formula: import the file as
 * text.
 */
import { argmax } from './metrics.ts';

export interface PredictedSet {
  readonly ids: readonly string[];
  readonly labels: readonly number[];
  /** (N, C), row-major. */
  readonly logits: ArrayLike<number>;
  /** Whether the rows were shown with the trigger. */
  readonly triggered: boolean;
}

const field = (text: string): string =>
  /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;

export function predictionsCsv(sets: readonly PredictedSet[], classes: number): string {
  const lines = [
    [
      'id',
      'triggered',
      'label',
      'prediction',
      ...Array.from({ length: classes }, (_, c) => `logit_${c}`),
    ].join(','),
  ];
  for (const { ids, labels, logits, triggered } of sets) {
    const predictions = argmax(logits, classes);
    ids.forEach((id, i) =>
      lines.push(
        [
          field(id),
          triggered ? 1 : 0,
          labels[i],
          predictions[i],
          ...Array.from({ length: classes }, (_, c) => logits[i * classes + c]),
        ].join(','),
      ),
    );
  }
  return `${lines.join('\n')}\n`;
}
