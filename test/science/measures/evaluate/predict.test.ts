import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../../../src/api.ts';
import { evaluated, predict } from '../../../../src/science/measures/evaluate/predict.ts';
import { present } from '../../../rig/present.ts';
import { useBackend } from '../../backend.ts';
import { openTiny, rows } from '../../tiny-bert.ts';

await useBackend('cpu');

test('logits come in the order of the rows, whatever the batches', async () => {
  const network = await openTiny('lora');
  const together = await predict(network, rows, rows.length),
    apart = await predict(network, rows, 1);
  assert.is(together.length, rows.length * network.classes);
  together.forEach((logit, i) => assert.ok(Math.abs(logit - present(apart[i])) < 1e-5));
  network.dispose();
});

test('a logit that is not finite is refused and does not count as class 0', async () => {
  const network = await openTiny('lora');
  const broken = {
    ...network,
    classes: network.classes,
    forward: (...args: Parameters<typeof network.forward>) => {
      return tf.mul<ReturnType<typeof network.forward>>(network.forward(...args), Number.NaN);
    },
  };
  let error: unknown = null;
  try {
    await predict(broken, rows, 4);
  } catch (thrown) {
    error = thrown;
  }
  assert.instance(error, UserFault);
  assert.match((error as UserFault).message, /^The logits of row \d+ are not finite: NaN, NaN/);
  network.dispose();
});

test('representations are those by the weights that the model has now', async () => {
  const network = await openTiny('full');
  const at = async (weights = network.initial): Promise<number[]> => [
    ...(await evaluated(network, weights).representations(rows, 2)).values,
  ];
  const moved = new Map([...network.initial].map(([name, tensor]) => [name, tf.mul(tensor, 2)]));
  const before = await at(),
    after = await at(moved);
  assert.ok(before.some((value, i) => Math.abs(value - present(after[i])) > 1e-3));
  moved.forEach((tensor) => tensor.dispose());
  network.dispose();
});

test.run();
