/**
 * predictions.csv (RFC 4180): id, triggered, label, prediction, logit_0 … Other programs match its
 * ids by value, so unlike the CSV files for people it holds each id as the data set has it, even
 * one that a spreadsheet would take for a formula: import it as text.
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
