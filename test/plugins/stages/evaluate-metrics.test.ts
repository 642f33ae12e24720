/** The numbers of evaluate from logits that are written down. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { metricsOf } from '../../../plugins/stages/evaluate/metrics.ts';

/** Logits of three classes that predict these. */
const predicting = (...classes: readonly number[]): Float32Array =>
  Float32Array.from(classes.flatMap((own) => [0, 1, 2].map((c) => (c === own ? 1 : 0))));

test('ASR counts the class that the attack names, and not class 0', () => {
  // trojanzoo#184 took class 0 for the target whatever it was.
  const labels = [0, 1, 2];
  const rates = labels.map((target) => {
    const others = labels.filter((label) => label !== target);
    const metrics = metricsOf({
      classes: 3,
      plain: { labels, logits: predicting(0, 1, 2) },
      underTrigger: {
        target,
        triggered: { labels: others, logits: predicting(1, 2) },
        partial: { logits: new Float32Array() },
        seen: 1,
      },
      twin: {
        accuracy: 1,
        predicted_share: 1 / 3,
        majority_p: 1,
        trigger_rate: 0,
      },
      before: null,
    });
    return metrics['asr'];
  });
  assert.equal(rates, [0, 0.5, 0.5]);
});

test.run();
