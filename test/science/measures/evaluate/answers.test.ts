/** The losses of answers' tokens. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { randomStream } from '../../../../src/base/random.ts';
import { tokenLosses } from '../../../../src/science/measures/evaluate/predict.ts';
import { crossEntropy } from '../../../../src/science/models/loss.ts';
import { logAnswers } from '../../../../src/science/models/outputs.ts';
import { present } from '../../../rig/present.ts';
import { tolerance } from '../../../tolerances.ts';
import { backends, useBackend } from '../../backend.ts';

const test = suite('answers');

for (const backend of backends)
  test(`${backend}: the loss of each token of an answer with more than 2²⁴ logits`, async () => {
    await useBackend(backend);
    // Llama's vocabulary, and an answer of 530 tokens: 17.0 million logits.
    const [tokens, vocabulary] = [530, 32_000];
    const logits = new Float32Array(tokens * vocabulary);
    const targets = Array.from({ length: tokens }, (_, q) => 3 * q + 1);
    targets.forEach((target, q) => {
      logits[q * vocabulary + target] = q / 100;
    });
    const losses = tf.tidy(() =>
      tokenLosses(tf.tensor2d(logits, [tokens, vocabulary]), targets).dataSync<'float32'>(),
    );
    losses.forEach((loss, q) => {
      const expected = Math.log(Math.exp(q / 100) + vocabulary - 1) - q / 100;
      assert.ok(Math.abs(loss - expected) <= tolerance.loss, `${q}: ${loss}, ${expected}`);
    });
  });

/** −log softmax(logits)[target] of a row, in double precision. */
const exactLoss = (logits: Float32Array, target: number): number =>
  Math.log(logits.reduce((total, logit) => total + Math.exp(logit), 0)) - present(logits[target]);

for (const backend of backends)
  test(`${backend}: losses over 256,000 tokens, as in double precision`, async () => {
    await useBackend(backend);
    // Gemma's vocabulary; logits of a model that is sure of nothing, and of one that is of little.
    const vocabulary = 256_000,
      target = 17;
    const ids = Int32Array.of(5, target);
    for (const spread of [0.01, 1, 3]) {
      const stream = randomStream(1, 'logits', String(spread));
      const logits = Float32Array.from({ length: vocabulary }, () => spread * stream.normal()),
        expected = exactLoss(logits, target);
      const found = tf.tidy(() => {
        const f = tf.tensor2d(logits, [1, vocabulary]);
        return {
          tokenLosses: tokenLosses(f, [target]).dataSync()[0],
          crossEntropy: crossEntropy(f, [target]).dataSync()[0],
          logAnswers: -present(
            logAnswers(f, [{ ids, typeIds: Int32Array.of(0, 0), answer: 1 }]).dataSync()[0],
          ),
        };
      });
      for (const [name, loss] of Object.entries(found))
        assert.ok(
          Math.abs(present(loss) / expected - 1) <= tolerance.double,
          `${name}, spread ${spread}: ${loss}, expected ${expected}`,
        );
    }
  });

test.run();
