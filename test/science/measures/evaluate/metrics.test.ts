import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { predictionsCsv } from '../../../../plugins/stages/evaluate/run.ts';
import {
  argmax,
  classificationMetrics,
  classScores,
  confusion,
  matthews,
  meanLoss,
} from '../../../../src/science/measures/evaluate/metrics.ts';
import { present } from '../../../rig/present.ts';

const near = (a: number | undefined, b: number): void =>
  assert.ok(a !== undefined && Math.abs(a - b) < 1e-12, `${a} is not ${b}`);
/** Logits whose largest is the prediction's. */
const voting = (predictions: readonly number[], classes: number): number[] =>
  predictions.flatMap((p) => Array.from({ length: classes }, (_, c) => (c === p ? 1 : 0)));

test('two classes: precision, recall and F1 of class 1', () => {
  // 3 true positives, 2 false positives, 1 false negative, 4 true negatives
  const labels = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0],
    predictions = [1, 1, 1, 0, 1, 1, 0, 0, 0, 0];
  const m = classificationMetrics(voting(predictions, 2), labels, 2);
  near(m['accuracy'], 0.7);
  near(m['precision'], 3 / 5);
  near(m['recall'], 3 / 4);
  near(m['f1'], 6 / 9);
  near(m['macro_f1'], (6 / 9 + 8 / 11) / 2);
  near(m['mcc'], (3 * 4 - 2 * 1) / Math.sqrt(5 * 4 * 6 * 5));
  near(m['loss'], 0.7 * Math.log(1 + Math.exp(-1)) + 0.3 * Math.log(1 + Math.E));
  assert.is(m['examples'], 10);
});

test("more classes: means over the classes, and Gorodkin's form of Matthews' correlation", () => {
  // sklearn.metrics.matthews_corrcoef([0,0,1,1,2,2,2], [0,1,1,1,2,0,2]): c = 5, s = 7, t = (2,2,3),
  // p = (2,3,2)
  const labels = [0, 0, 1, 1, 2, 2, 2],
    predictions = [0, 1, 1, 1, 2, 0, 2];
  const counts = confusion(labels, predictions, 3);
  assert.equal(counts, [
    [1, 1, 0],
    [0, 2, 0],
    [1, 0, 2],
  ]);
  near(matthews(counts), (5 * 7 - (2 * 2 + 2 * 3 + 3 * 2)) / Math.sqrt((49 - 17) * (49 - 17)));
  assert.equal(classScores(counts, 1), { precision: 2 / 3, recall: 1, f1: 4 / 5 });
  const m = classificationMetrics(voting(predictions, 3), labels, 3);
  near(m['precision'], (1 / 2 + 2 / 3 + 1) / 3);
  near(m['f1'], (1 / 2 + 4 / 5 + 4 / 5) / 3);
  near(m['macro_f1'], present(m['f1']));
});

test('a class never predicted scores 0; predicting one class has correlation 0', () => {
  const m = classificationMetrics(voting([0, 0, 0], 2), [0, 0, 1], 2);
  assert.equal([m['precision'], m['recall'], m['f1'], m['mcc']], [0, 0, 0, 0]);
});

test('the loss holds for logits of any size; equal logits go to the first class', () => {
  near(meanLoss([1000, 0, 0, 1000], [0, 0], 2), 500);
  assert.equal(argmax([1, 1, 0, 2, 3, 3], 3), [0, 1]);
});

test('predictions.csv marks triggered rows and quotes what needs it', () => {
  const csv = predictionsCsv(
    [
      { ids: ['a', 'b,"c"'], labels: [0, 1], logits: [0.5, -1, 2, 3], triggered: false },
      { ids: ['a'], labels: [0], logits: [0, 4], triggered: true },
    ],
    2,
  );
  assert.is(
    csv,
    'id,triggered,label,prediction,logit_0,logit_1\na,0,0,0,0.5,-1\n"b,""c""",0,1,1,2,3\na,1,0,1,0,4\n',
  );
});

test.run();
