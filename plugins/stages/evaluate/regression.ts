/** The metrics of a regression head, and its predictions as CSV. */
import { pearson } from '../../../src/base/stats/pearson.ts';
import { spearman } from '../../../src/base/stats/spearman.ts';
import type { Metrics } from '../shared/files.ts';
import { metricOf } from '../shared/files.ts';

/**
 * Returns `pearson` and `spearman`, the correlations of labels and predictions, `loss`, their mean
 * squared error, and `examples`. Where all labels or all predictions are equal, a correlation
 * counts as 0, as Matthews' does.
 * @param twin metrics of the paired clean run. Null if this run is clean itself.
 */
export function regressionMetrics(
  labels: readonly number[],
  predictions: readonly number[],
  twin: Metrics | null,
): Metrics {
  const r = pearson(labels, predictions) ?? 0;
  const squares = labels.map((label, i) => (label - (predictions[i] ?? NaN)) ** 2);
  return {
    pearson: r,
    spearman: spearman(labels, predictions) ?? 0,
    loss: squares.reduce((sum, square) => sum + square, 0) / labels.length,
    examples: labels.length,
    ...(twin === null ? {} : { pearson_drop: metricOf(twin, 'pearson') - r }),
  };
}
