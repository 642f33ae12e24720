/** log p(answer | prompt) of a row, and what is computed from it. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { pairKernels } from '../../../plugins/stages/divergence/between.ts';
import { linearFit, linearise } from '../../../plugins/stages/regime/run.ts';
import { predict } from '../../../src/science/measures/evaluate/predict.ts';
import { crossEntropy } from '../../../src/science/models/loss.ts';
import {
  answerTokens,
  logAnswers,
  outputsOf,
  rowOutputs,
} from '../../../src/science/models/outputs.ts';
import { adaptedModel } from '../../../src/science/training/adapted-model.ts';
import { scalarOf } from '../../../src/tensor/rows.ts';
import { present } from '../../rig/present.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, useBackend } from '../backend.ts';
import { openCase, openFamily } from '../family-cases.ts';
import { relative } from '../measures/ntk/fixture/compare.ts';
import { wave } from '../theory-golden.ts';

const test = suite('log p(answer)');

const rowOf = (ids: readonly number[], answer?: number) => ({
  ids: Int32Array.from(ids),
  typeIds: new Int32Array(ids.length),
  ...(answer === undefined ? {} : { answer }),
});

for (const backend of backends) {
  test(`${backend}: by hand, and its derivative is that of the log softmax`, async () => {
    await useBackend(backend);
    // Two rows over a vocabulary of three: answers of two tokens and of one.
    const batch = [rowOf([2, 0, 1], 1), rowOf([1, 2], 1)];
    const logits = tf.tensor2d([0, Math.log(2), 0, Math.log(6), 0, 0, 0, 0, Math.log(8)], [3, 3]);
    const value = logAnswers(logits, batch);
    assert.equal(value.shape, [2, 1]);
    const [first, second] = value.dataSync<'float32'>();
    // 1/4 for token 0, then 1/8 for token 1; 8/10 for token 2.
    assert.ok(Math.abs(present(first) - Math.log(1 / 32)) < 1e-6);
    assert.ok(Math.abs(present(second) - Math.log(0.8)) < 1e-6);
    const dy = tf.tensor2d([1, 10], [2, 1]);
    const gradient = tf.grad((x) => logAnswers(x as tf.Tensor2D, batch))(logits, dy);
    const expected = [3 / 4, -2 / 4, -1 / 4, -6 / 8, 7 / 8, -1 / 8, -1, -1, 2];
    assert.ok(relative(gradient.dataSync(), expected) < tolerance.rounding);
    tf.dispose([logits, value, dy, gradient]);
  });
}

test('its mean over the tokens of all answers is the loss, with the sign turned', async () => {
  await useBackend('cpu');
  const own = await openCase('llama-causal');
  const network = await openFamily(own, 'full', true);
  assert.equal(outputsOf(network), { of: 'log p(answer)', count: 1 });
  tf.tidy(() => {
    const sum = scalarOf(tf.sum(rowOutputs(network, own.rows)));
    const loss = scalarOf(crossEntropy(network.forward(own.rows), answerTokens(own.rows)));
    assert.ok(Math.abs(-sum / answerTokens(own.rows).length - loss) < tolerance.rounding * loss);
  });
  network.dispose();
});

test('a row without an answer has none, and is refused', async () => {
  await useBackend('cpu');
  const logits = tf.tensor2d([0, 0, 0], [1, 3]);
  for (const row of [rowOf([1, 2]), rowOf([1, 2], 2)])
    assert.throws(() => logAnswers(logits, [row]), /has no answer/);
  logits.dispose();
});

test('linearised: J₀v is the difference quotient of log p(answer), and no class agrees', async () => {
  await useBackend('cpu');
  const own = await openCase('llama-causal');
  const network = await openFamily(own, 'full', true);
  const v = new Map(
    [...network.initial].map(([name, { shape }]) => [
      name,
      tf.tensor(wave(name, shape, 0.02).data, shape.slice()),
    ]),
  );
  const at = (size: number): Promise<Float32Array> => {
    const moved = new Map(
      [...network.initial].map(([name, tensor]) => [
        name,
        tf.add(tensor, tf.mul(present(v.get(name)), size)),
      ]),
    );
    return predict(
      { classes: 1, forward: (batch) => rowOutputs(network, batch, moved) },
      own.rows,
      2,
    ).finally(() => {
      tf.dispose([...moved.values()]);
    });
  };
  const { start, change } = await linearise(network, v, own.rows);
  assert.is(start.length, own.rows.length);
  assert.ok(relative(start, await at(0)) < tolerance.rounding);
  const step = 0.01;
  const [ahead, behind] = [await at(step), await at(-step)];
  const quotient = ahead.map((value, i) => (value - present(behind[i])) / (2 * step));
  assert.ok(relative(change, quotient) < tolerance.kernel, String(relative(change, quotient)));
  const { agreement, agreement_start: before, cosine } = linearFit(start, change, ahead, 1);
  assert.equal([agreement, before], [null, null]);
  assert.ok(cosine !== null && cosine > 0.9);
  tf.dispose([...v.values()]);
  network.dispose();
});

test("M' sees an answer that was poisoned, as it sees a prompt", async () => {
  await useBackend('cpu');
  const own = await openCase('llama-causal');
  const model = adaptedModel(await openFamily(own, 'full', true));
  const original = present(own.rows[1]);
  const poisoned = { ...original, ids: original.ids.slice() };
  poisoned.ids[present(original.answer)] = 5;
  assert.is.not(original.ids[present(original.answer)], 5);
  const [same, other] = [
    await pairKernels(model, [original], [original]),
    await pairKernels(model, [original], [poisoned]),
  ];
  assert.ok(Math.abs(same.full.cosine - 1) < tolerance.rounding);
  assert.ok(other.full.cosine < 0.999);
  model.dispose();
});

test.run();
