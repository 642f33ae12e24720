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
  values.forEach((value, i) => {
    all.push(
      judge(
        { metric: 'loss', patience: 2, minDelta: 0, ...rule },
        all.at(-1) ?? atTheStart,
        i + 1,
        value,
      ),
    );
  });
  return all;
};

// The numbers are those of transformers 5.24: `best_global_step` of its Trainer, and the counter of
// its EarlyStoppingCallback.
test('the best evaluation, and how many have not improved since, are those of transformers', () => {
  const numbers = (rule: Partial<StoppingRule>, values: readonly number[]): number[][] =>
    judged(rule, values).map(({ best, since }) => [present(best).step, since]);
  assert.equal(numbers({ metric: 'accuracy' }, [0.5, 0.5, 0.4, 0.6, 0.6]), [
    [1, 0],
    [1, 1],
    [1, 2],
    [4, 0],
    [4, 1],
  ]);
  assert.equal(numbers({ minDelta: 0.1 }, [1, 0.95, 0.96, 0.93, 0.82, 0.82]), [
    [1, 0],
    [2, 1],
    [2, 2],
    [4, 3],
    [5, 0],
    [5, 1],
  ]);
  const creeping = [0.5, 0.506, 0.512, 0.518, 0.524];
  assert.equal(numbers({ metric: 'accuracy', minDelta: 0.01 }, creeping), [
    [1, 0],
    [2, 1],
    [3, 2],
    [4, 3],
    [5, 4],
  ]);
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
  assert.is(present(best).value, Math.min(...curves.slice(1).map(({ loss }) => loss)));
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

test('the untrained model is never the one that is kept', async () => {
  const network = await openTiny('lora');
  const watch = watchTraining({
    steps: 4,
    every: 2,
    keepBest: true,
    onBatch: () => Promise.resolve(),
    stopping: { metric: 'accuracy', patience: 9, minDelta: 0 },
    // What the training teaches is wrong on these rows.
    watched: {
      validation: rows.slice(0, 8).map((row) => ({ ...row, label: (row.label + 1) % 3 })),
      poisoned: [],
      triggered: null,
      batchSize: 8,
    },
  });
  const shown = watched(watch, network);
  const trained = await train(
    network,
    rows.slice(0, 8),
    { ...settings, steps: 4, learningRate: 5e-2 },
    { onWeights: shown },
  );
  const [start, ...later] = watch.curves.map(({ accuracy }) => accuracy);
  assert.ok(
    later.every((accuracy) => accuracy <= present(start)),
    `${start}: ${later.join()}`,
  );
  assert.is(present(watch.kept).step, 2);
  assert.is(shown.kept.size, trained.size);
  for (const tensor of [...trained.values(), ...shown.kept.values()]) tensor.dispose();
  network.dispose();
});

test.run();
