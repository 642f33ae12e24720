import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../../src/api.ts';
import { at } from '../../../src/base/lookup.ts';
import { batches, stepsPerEpoch, totalSteps } from '../../../src/science/training/batches.ts';
import { type StepRecord, train, type TrainSettings } from '../../../src/science/training/loop.ts';
import { useBackend } from '../backend.ts';
import { plainTraining } from '../plain-training.ts';
import { openTiny, rows } from '../tiny-bert.ts';

const settings: TrainSettings = {
  ...plainTraining,
  steps: 4,
  batchSize: 7,
  learningRate: 1e-3,
  weightDecay: 0.01,
  shuffle: true,
  seed: 3,
};
await useBackend('cpu');

async function losses(change: Partial<TrainSettings>): Promise<number[]> {
  const network = await openTiny('lora'),
    out: number[] = [];
  const trained = await train(
    network,
    rows,
    { ...settings, ...change },
    {
      onStep: ({ loss }) => {
        out.push(loss);
      },
    },
  );
  trained.forEach((tensor) => tensor.dispose());
  network.dispose();
  return out;
}

test('each epoch has all rows in a new order, or in file order without shuffling', () => {
  const take = (shuffle: boolean, seed: number): number[][] => {
    const order = batches({ rows: 7, batchSize: 3, shuffle, seed });
    return Array.from({ length: 6 }, () => [...order.next().value]);
  };
  assert.equal(take(false, 1), [[0, 1, 2], [3, 4, 5], [6], [0, 1, 2], [3, 4, 5], [6]]);
  const shuffled = take(true, 1);
  assert.equal(
    shuffled.map((batch) => batch.length),
    [3, 3, 1, 3, 3, 1],
  );
  assert.equal(shuffled.slice(0, 3).flat().sort(), [0, 1, 2, 3, 4, 5, 6]);
  assert.equal(shuffled.slice(3).flat().sort(), [0, 1, 2, 3, 4, 5, 6]);
  assert.not.equal(shuffled.slice(0, 3), shuffled.slice(3));
  assert.equal(take(true, 1), shuffled);
  assert.not.equal(take(true, 2), shuffled);
});

test('a training has the given steps or epochs, or three epochs', () => {
  const order = { rows: 601, batchSize: 16 };
  assert.is(stepsPerEpoch(order), 38);
  assert.is(totalSteps({ epochs: 2 }, order), 76);
  assert.is(totalSteps({ epochs: 0.5 }, order), 19);
  assert.is(totalSteps({ epochs: 0.51 }, order), 20);
  assert.is(
    totalSteps({ epochs: 0.1 }, { rows: 100, batchSize: 10 }),
    1,
    '0.1 · 10 is not 1 in floating point',
  );
  assert.is(totalSteps({ steps: 5 }, order), 5);
  assert.is(totalSteps({}, order), 114);
});

test('a run is reproducible, and another seed changes the order', async () => {
  const first = await losses({});
  assert.equal(await losses({}), first);
  assert.not.equal(await losses({ seed: 4 }), first);
});

test('dropout changes the loss and depends on the seed', async () => {
  const dropped = await losses({ dropout: 0.3 });
  assert.not.equal(dropped, await losses({}));
  assert.equal(await losses({ dropout: 0.3 }), dropped);
});

test('a loss that is not finite ends the training and is reported with its step', async () => {
  const network = await openTiny('full');
  const before = tf.memory().numTensors,
    history: StepRecord[] = [];
  let error: unknown = null;
  try {
    await train(
      network,
      rows,
      { ...settings, steps: 50, learningRate: 1e30 },
      {
        onStep: (record) => {
          history.push(record);
        },
      },
    );
  } catch (thrown) {
    error = thrown;
  }
  assert.instance(error, UserFault);
  const last = at(history, history.length - 1);
  assert.ok(Number.isFinite(last.loss));
  assert.is(
    (error as UserFault).message,
    `the loss is NaN at step ${last.step + 1}; ` +
      `the last finite one was ${last.loss} at step ${last.step}`,
  );
  assert.is(tf.memory().numTensors, before);
  network.dispose();
});

test('a training whose last step leaves weights that are not finite fails', async () => {
  const network = await openTiny('full');
  const before = tf.memory().numTensors;
  let error: unknown = null;
  try {
    await train(network, rows, { ...settings, steps: 1, learningRate: Number.MAX_VALUE });
  } catch (thrown) {
    error = thrown;
  }
  assert.instance(error, UserFault);
  assert.match(
    (error as UserFault).message,
    /^the weights are not finite after step 1, the last one; its loss was 0\.\d+$/,
  );
  assert.is(tf.memory().numTensors, before);
  network.dispose();
});

test('a hook that throws ends the training and leaves no tensor', async () => {
  const network = await openTiny('lora');
  const before = tf.memory().numTensors;
  let error: unknown = null;
  try {
    await train(network, rows, settings, {
      onStep: ({ step }) => {
        if (step === 2) throw new Error('enough');
      },
    });
  } catch (thrown) {
    error = thrown;
  }
  assert.is((error as Error).message, 'enough');
  assert.is(tf.memory().numTensors, before);
  network.dispose();
});

test.run();
