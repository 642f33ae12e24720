import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../../src/base/lookup.ts';
import { argmax, meanLoss } from '../../../src/science/measures/evaluate/metrics.ts';
import { train, type TrainSettings } from '../../../src/science/training/loop.ts';
import {
  atTheStart,
  judge,
  type Standing,
  type StoppingRule,
  type WatchOptions,
  watchTraining,
} from '../../../src/science/training/watch.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../backend.ts';
import { plainTraining } from '../plain-training.ts';
import { logitsOf, openTiny, rows } from '../tiny-bert.ts';
import { watched } from '../watched.ts';

await useBackend('cpu');
const settings: TrainSettings = {
  ...plainTraining,
  steps: 6,
  batchSize: 7,
  learningRate: 1e-2,
  weightDecay: 0.01,
  shuffle: true,
  seed: 3,
};
const judged = (rule: Partial<StoppingRule>, values: readonly number[]): Standing[] => {
  const all: Standing[] = [];
  values.forEach((value, step) => {
    all.push(
      judge(
        { metric: 'loss', patience: 2, minDelta: 0, ...rule },
        all.at(-1) ?? atTheStart,
        step,
        value,
      ),
    );
  });
  return all;
};

test('an improvement exceeds min_delta in the direction of the metric', () => {
  assert.equal(
    judged({}, [1, 0.9, 0.9, 1.2, 0.8]).map(({ best, since }) => [present(best).step, since]),
    [
      [0, 0],
      [1, 0],
      [1, 1],
      [1, 2],
      [4, 0],
    ],
  );
  assert.equal(
    judged({ minDelta: 0.1 }, [1, 0.95, 0.88]).map(({ best, since }) => [
      present(best).step,
      since,
    ]),
    [
      [0, 0],
      [0, 1],
      [2, 0],
    ],
  );
  assert.equal(
    judged({ metric: 'accuracy' }, [0.5, 0.4, 0.6]).map(({ best, since }) => [
      present(best).step,
      since,
    ]),
    [
      [0, 0],
      [0, 1],
      [2, 0],
    ],
  );
});

test('curves evaluate the weights from start to end and leave no tensor', async () => {
  for (const kind of ['lora', 'full'] as const) {
    const network = await openTiny(kind),
      before = tf.memory().numTensors;
    const validation = rows.slice(0, 9),
      poisoned = rows.slice(9, 13),
      triggered = rows.slice(13).map((row) => ({ ...row, label: 2 }));
    const watch = watchTraining({
      steps: 6,
      every: 4,
      stopping: null,
      keepBest: true,
      onBatch: () => Promise.resolve(),
      watched: { validation, poisoned, triggered, batchSize: 4 },
    });
    const losses: number[] = [],
      plain: number[] = [];
    const trained = await train(network, rows, settings, {
      onWeights: watched(watch, network),
      onStep: ({ loss }) => {
        losses.push(loss);
      },
    });
    assert.equal(
      watch.curves.map(({ step }) => step),
      [0, 4, 6],
    );
    const share = (some: typeof rows, right: (i: number) => number): number =>
      argmax(logitsOf(network, some), 3).filter((x, i) => x === right(i)).length / some.length;
    const start = at(watch.curves, 0);
    assert.equal(
      [start.accuracy, start.asr, start.poisoned_accuracy],
      [
        share(validation, (i) => at(validation, i).label),
        share(triggered, () => 2),
        share(poisoned, (i) => at(poisoned, i).label),
      ],
    );
    assert.ok(
      Math.abs(
        start.loss -
          meanLoss(
            logitsOf(network, validation),
            validation.map(({ label }) => label),
            3,
          ),
      ) < 1e-6,
    );
    const last = tf.tidy(() => network.forward(validation, trained).dataSync());
    assert.is(
      at(watch.curves, 2).accuracy,
      argmax(last, 3).filter((x, i) => x === at(validation, i).label).length / 9,
    );
    assert.ok(
      Math.abs(
        at(watch.curves, 2).loss -
          meanLoss(
            last,
            validation.map(({ label }) => label),
            3,
          ),
      ) < 1e-6,
    );
    assert.is(tf.memory().numTensors, before + trained.size);
    trained.forEach((tensor) => tensor.dispose());
    (
      await train(network, rows, settings, {
        onStep: ({ loss }) => {
          plain.push(loss);
        },
      })
    ).forEach((tensor) => tensor.dispose());
    assert.equal(losses, plain, 'an evaluation changes nothing');
    network.dispose();
  }
});

test('a training stops when it no longer improves, and keeps the best weights', async () => {
  const network = await openTiny('lora'),
    before = tf.memory().numTensors;
  const options: WatchOptions = {
    steps: 40,
    every: 1,
    keepBest: true,
    onBatch: () => Promise.resolve(),
    stopping: { metric: 'loss', patience: 3, minDelta: 0 },
    // The validation rows have nothing to do with the training rows, so the loss soon grows.
    watched: { validation: rows.slice(20), poisoned: [], triggered: null, batchSize: 8 },
  };
  const watch = watchTraining(options),
    shown = watched(watch, network),
    some = rows.slice(0, 8);
  const trained = await train(
    network,
    some,
    { ...settings, steps: 40, learningRate: 5e-2 },
    { onWeights: shown },
  );
  const { kept: best, curves } = watch;
  assert.ok(present(curves.at(-1)).step < 40);
  assert.is(present(curves.at(-1)).step, present(best).step + 3);
  assert.is(present(best).value, Math.min(...curves.map(({ loss }) => loss)));
  const again = await train(network, some, {
    ...settings,
    steps: present(best).step,
    learningRate: 5e-2,
  });
  for (const [name, tensor] of again)
    assert.equal([...present(shown.kept.get(name)).dataSync()], [...tensor.dataSync()], name);
  for (const tensor of [...trained.values(), ...again.values(), ...shown.kept.values()])
    tensor.dispose();
  assert.is(tf.memory().numTensors, before);
  network.dispose();
});

test.run();
