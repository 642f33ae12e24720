import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  againstMajority,
  againstUntriggered,
} from '../../../../src/science/measures/evaluate/metrics.ts';

const near = (a: number, b: number): void => assert.ok(Math.abs(a - b) < 1e-12, `${a} is not ${b}`);
const labels = [0, 0, 0, 0, 0, 0, 0, 1, 1, 1];

test('always predicting the majority class is not distinguished from the baseline', () => {
  assert.equal(againstMajority(labels, new Array<number>(10).fill(0), 2), {
    majority_share: 0.7,
    predicted_share: 1,
    majority_p: 1,
  });
});

test('a model that always predicts the minority class is significantly worse, not better', () => {
  const { predicted_share, majority_p } = againstMajority(labels, new Array<number>(10).fill(1), 2);
  assert.is(predicted_share, 1);
  near(majority_p, 2 * (1 + 10 + 45 + 120) * 2 ** -10); // 3 against 7 of 10 discordant rows
});

test('a model without an error: 3 discordant rows are too few for a small p-value', () => {
  const { majority_share, predicted_share, majority_p } = againstMajority(labels, labels, 2);
  assert.equal([majority_share, predicted_share], [0.7, 0.7]);
  near(majority_p, 2 / 8);
});

test('predictions with the trigger are compared with those without it, row by row', () => {
  // Of eight rows, one is predicted as the target without the trigger; the trigger adds five.
  const { asr_untriggered, asr_minus_untriggered, asr_untriggered_p } = againstUntriggered(
    [1, 0, 0, 0, 0, 0, 0, 0],
    [1, 1, 1, 1, 1, 1, 0, 0],
    1,
  );
  assert.equal([asr_untriggered, asr_minus_untriggered], [1 / 8, 5 / 8]);
  near(asr_untriggered_p, 2 / 32);
});

test('ASR 1 of a model that predicts the target anyway adds nothing', () => {
  const all = new Array<number>(8).fill(1);
  assert.equal(againstUntriggered(all, all, 1), {
    asr_untriggered: 1,
    asr_minus_untriggered: 0,
    asr_untriggered_p: 1,
  });
});

test.run();
