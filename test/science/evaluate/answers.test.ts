/** The losses of answers' tokens. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { tokenLosses } from '../../../src/science/evaluate/answers.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, useBackend } from '../backend.ts';

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

test.run();
