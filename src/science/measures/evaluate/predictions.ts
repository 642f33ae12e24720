/**
 * Writes predictions.csv (RFC 4180) with the columns id, triggered, label, prediction, logit_0, …;
 * of a regression head, whose one output is the prediction, without logits. Other programs match
 * rows by id, so each id is written exactly as the data set has it, unlike in the CSV files for
 * people. A spreadsheet may take such an id for a formula: import the file as text.
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

/** @param classes C, or 1 for a regression head */
export function predictionsCsv(sets: readonly PredictedSet[], classes: number): string {
  const logitsOf = classes === 1 ? 0 : classes;
  const lines = [
    [
      'id',
      'triggered',
      'label',
      'prediction',
      ...Array.from({ length: logitsOf }, (_, c) => `logit_${c}`),
    ].join(','),
  ];
  for (const { ids, labels, logits, triggered } of sets) {
    const predictions = classes === 1 ? Array.from(logits) : argmax(logits, classes);
    ids.forEach((id, i) =>
      lines.push(
        [
          field(id),
          triggered ? 1 : 0,
          labels[i],
          predictions[i],
          ...Array.from({ length: logitsOf }, (_, c) => logits[i * classes + c]),
        ].join(','),
      ),
    );
  }
  return `${lines.join('\n')}\n`;
}
