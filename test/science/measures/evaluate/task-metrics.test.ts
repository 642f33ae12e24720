/** The metrics of GLUE's tasks against scikit-learn and SciPy (test/golden/task_metrics.py). */
import { readFile } from 'node:fs/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { pearson, spearman } from '../../../../src/base/stats.ts';
import { classificationMetrics } from '../../../../src/science/measures/evaluate/metrics.ts';

const test = suite("metrics of GLUE's tasks");
interface Golden {
  readonly classes: readonly {
    readonly classes: number;
    readonly labels: readonly number[];
    readonly predictions: readonly number[];
    readonly [metric: string]: unknown;
  }[];
  readonly scores: readonly {
    readonly labels: readonly number[];
    readonly predictions: readonly number[];
    readonly pearson: number;
    readonly spearman: number;
    readonly loss: number;
  }[];
}
const golden = JSON.parse(
  await readFile(new URL('../../../golden/task-metrics.json', import.meta.url), 'utf8'),
) as Golden;
const near = (actual: number | null | undefined, expected: unknown, what: string): void =>
  assert.ok(
    typeof actual === 'number' && Math.abs(actual - Number(expected)) < 1e-12,
    `${what}: ${String(actual)} is not ${String(expected)}`,
  );

test("accuracy, precision, recall, F1, macro F1 and Matthews' correlation are scikit-learn's", () => {
  assert.ok(golden.classes.length > 0);
  for (const [i, { classes, labels, predictions, ...expected }] of golden.classes.entries()) {
    const logits = predictions.flatMap((p) =>
      Array.from({ length: classes }, (_, c) => +(c === p)),
    );
    const metrics = classificationMetrics(logits, labels, classes);
    for (const name of ['accuracy', 'precision', 'recall', 'f1', 'macro_f1', 'mcc'])
      near(metrics[name], expected[name], `${name} of case ${i}`);
  }
});

test("Pearson's and Spearman's correlations are SciPy's", () => {
  assert.ok(golden.scores.length > 0);
  for (const [i, { labels, predictions, ...expected }] of golden.scores.entries()) {
    near(pearson(labels, predictions), expected.pearson, `pearson of case ${i}`);
    near(spearman(labels, predictions), expected.spearman, `spearman of case ${i}`);
  }
});

test('a list of equal values correlates with nothing', () => {
  assert.is(pearson([0.1, 0.1, 0.1], [1, 2, 3]), null);
  assert.is(pearson([1], [2]), null);
  assert.throws(() => pearson([1, 2], [1]), /equal lengths, got 2 and 1/);
});

test.run();
