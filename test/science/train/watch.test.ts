import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { argmax, meanLoss } from '../../../src/science/evaluate/metrics.ts';
import {
  atTheStart,
  judge,
  type Standing,
  type StoppingRule,
} from '../../../src/science/train/early-stopping.ts';
import { train, type TrainSettings } from '../../../src/science/train/loop.ts';
import { type WatchOptions, watchTraining } from '../../../src/science/train/watch.ts';
import { useBackend } from '../backend.ts';
import { logitsOf, openTiny, rows } from '../tiny-bert.ts';

await useBackend('cpu');
const settings: TrainSettings = {
  steps: 6,
  batchSize: 7,
  optimizer: 'adamw',
  learningRate: 1e-2,
  weightDecay: 0.01,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  schedule: 'constant',
  warmup: 0,
  shuffle: true,
  dropout: 0,
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

test("an improvement is larger than min_delta, in the metric's own direction", () => {
  assert.equal(
    judged({}, [1, 0.9, 0.9, 1.2, 0.8]).map(({ best, since }) => [best!.step, since]),
    [
      [0, 0],
      [1, 0],
      [1, 1],
      [1, 2],
      [4, 0],
    ],
  );
  assert.equal(
    judged({ minDelta: 0.1 }, [1, 0.95, 0.88]).map(({ best, since }) => [best!.step, since]),
    [
      [0, 0],
      [0, 1],
      [2, 0],
    ],
  );
  assert.equal(
    judged({ metric: 'accuracy' }, [0.5, 0.4, 0.6]).map(({ best, since }) => [best!.step, since]),
    [
      [0, 0],
      [0, 1],
      [2, 0],
    ],
  );
});

test('curves are what the weights of each step give, from the start to the last step; nothing is left of a look', async () => {
  for (const kind of ['lora', 'full'] as const) {
    const network = await openTiny(kind),
      before = tf.memory().numTensors;
    const validation = rows.slice(0, 9),
      poisoned = rows.slice(9, 13),
      triggered = { rows: rows.slice(13), target: 2 };
    const watch = watchTraining({
      network,
      steps: 6,
      every: 4,
      stopping: null,
      keepBest: true,
      breathe: async () => undefined,
      watched: { validation, poisoned, triggered, batchSize: 4 },
    });
    const losses: number[] = [],
      plain: number[] = [];
    const trained = await train(network, rows, settings, {
      onWeights: watch,
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
    const start = watch.curves[0]!;
    assert.equal(
      [start.accuracy, start.asr, start.poisoned_accuracy],
      [
        share(validation, (i) => validation[i]!.label),
        share(triggered.rows, () => 2),
        share(poisoned, (i) => poisoned[i]!.label),
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
      watch.curves[2]!.accuracy,
      argmax(last, 3).filter((x, i) => x === validation[i]!.label).length / 9,
    );
    assert.ok(
      Math.abs(
        watch.curves[2]!.loss -
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
    assert.equal(losses, plain, 'looking changes nothing');
    network.dispose();
  }
});

test('it stops when nothing gets better, and has kept the best weights', async () => {
  const network = await openTiny('lora'),
    before = tf.memory().numTensors;
  const options: WatchOptions = {
    network,
    steps: 40,
    every: 1,
    keepBest: true,
    breathe: async () => undefined,
    stopping: { metric: 'loss', patience: 3, minDelta: 0 },
    watched: { validation: rows.slice(20), poisoned: [], triggered: null, batchSize: 8 }, // far from what is trained on: soon it gets worse
  };
  const watch = watchTraining(options),
    some = rows.slice(0, 8);
  const trained = await train(
    network,
    some,
    { ...settings, steps: 40, learningRate: 5e-2 },
    { onWeights: watch },
  );
  const { best, curves } = watch;
  assert.ok(curves.at(-1)!.step < 40);
  assert.is(curves.at(-1)!.step, best!.step + 3);
  assert.is(best!.value, Math.min(...curves.map(({ loss }) => loss)));
  const again = await train(network, some, { ...settings, steps: best!.step, learningRate: 5e-2 });
  for (const [name, tensor] of again)
    assert.equal([...watch.bestWeights.get(name)!.dataSync()], [...tensor.dataSync()], name);
  for (const tensor of [...trained.values(), ...again.values()]) tensor.dispose();
  watch.dispose();
  assert.is(tf.memory().numTensors, before);
  network.dispose();
});

test.run();
