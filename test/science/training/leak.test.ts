/**
 * Steps, evaluations and trainings leave nothing behind: the numbers of tensors and bytes stay the
 * same.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import { layerwiseLoss } from '../../../plugins/attacks/lwp/layerwise-loss.ts';
import { restrictedInnerProduct } from '../../../plugins/attacks/ripple/training.ts';
import { full } from '../../../src/science/models/fine-tuning.ts';
import type { Network } from '../../../src/science/models/network.ts';
import { train, type TrainSettings } from '../../../src/science/training/loop.ts';
import { watchTraining } from '../../../src/science/training/watch.ts';
import { backends, best, useBackend } from '../backend.ts';
import { bitfit, headOnly } from '../plain-adapters.ts';
import { plainTraining } from '../plain-training.ts';
import { openAdapted, rows } from '../tiny-bert.ts';
import { mlmRows, openMlm } from '../tiny-mlm.ts';
import { watched } from '../watched.ts';

const settings: TrainSettings = {
  ...plainTraining,
  steps: 5,
  batchSize: 5,
  learningRate: 1e-2,
  weightDecay: 0.01,
  schedule: 'linear',
  warmup: 2,
  shuffle: true,
  seed: 3,
};
/** The number of tensors, their bytes, and what the backend itself holds. */
const held = (): string =>
  JSON.stringify([tf.memory().numTensors, tf.memory().numBytes, tf.backend().numDataIds()]);
const watchOf = (some: typeof rows) =>
  watchTraining({
    steps: settings.steps,
    every: 3,
    stopping: null,
    keepBest: false,
    onBatch: () => Promise.resolve(),
    watched: {
      validation: some.slice(0, 7),
      poisoned: some.slice(7, 10),
      triggered: some.slice(10),
      batchSize: 4,
    },
  });

/**
 * Every other row comes from an attack, so that the gradients of the two kinds disagree in some
 * steps and agree in others.
 */
const halfPoisoned = rows.map((row, i) => ({
  ...row,
  poisoned: i % 2 === 1,
  label: i % 2 === 1 ? 1 : row.label,
}));

const courses: {
  readonly [name: string]: {
    readonly open: () => Promise<Network>;
    readonly rows?: typeof rows;
    readonly settings?: Partial<TrainSettings>;
  };
} = {
  LoRA: { open: () => openAdapted(lora, { rank: 3 }) },
  'LoRA under dropout': {
    open: () => openAdapted(lora, { rank: 3, dropout: 0.2, bias: 'all' }),
    settings: { dropout: 0.1 },
  },
  'frozen A': { open: () => openAdapted(lora, { rank: 3, freeze_a: true }) },
  full: { open: () => openAdapted(full) },
  'full, every option': {
    open: () => openAdapted(full),
    settings: {
      accumulate: 2,
      clipNorm: 0.5,
      decay: 'weights',
      batching: 'bucketed',
      classWeights: [1, 2, 3],
      dropout: 0.1,
    },
  },
  'a loss over layers': {
    open: () => openAdapted(full),
    settings: { objective: layerwiseLoss, dropout: 0.1, accumulate: 2, classWeights: [1, 2, 3] },
  },
  'a loss over layers under LoRA': {
    open: () => openAdapted(lora, { rank: 3, dropout: 0.2 }),
    settings: { objective: layerwiseLoss },
  },
  SGD: { open: () => openAdapted(full), settings: { optimizer: 'sgd' } },
  'head-only': { open: () => openAdapted(headOnly) },
  bitfit: { open: () => openAdapted(bitfit) },
  'RIPPLe, full': {
    open: () => openAdapted(full),
    rows: halfPoisoned,
    settings: { objective: restrictedInnerProduct(0.1), dropout: 0.1 },
  },
  'RIPPLe, LoRA': {
    open: () => openAdapted(lora, { rank: 3, dropout: 0.2 }),
    rows: halfPoisoned,
    settings: { objective: restrictedInnerProduct(0.1), accumulate: 2 },
  },
  cloze: { open: () => openMlm('full'), rows: mlmRows },
};

/** What is tested on each backend; the rest of a training is the same code on all of them. */
const EVERYWHERE = ['LoRA', 'full, every option'];

for (const backend of backends) {
  for (const [name, course] of Object.entries(courses)) {
    if (backend !== best && !EVERYWHERE.includes(name)) continue;
    test(`${name}: steps, evaluations and trainings leave nothing (${backend})`, async () => {
      await useBackend(backend);
      const network = await course.open(),
        some = course.rows ?? rows,
        before = held();
      for (const round of [1, 2]) {
        const counts: string[] = [],
          looks: string[] = [],
          penalties: number[] = [];
        const watch = watched(watchOf(some), network);
        const trained = await train(
          network,
          some,
          { ...settings, ...course.settings },
          {
            onStep: ({ penalty }) => {
              counts.push(held());
              penalties.push(penalty ?? 0);
            },
            onWeights: {
              wants: watch.wants,
              see: async (step, weights) => {
                const before = held();
                await watch.see(step, weights);
                looks.push(held());
                assert.is(held(), before, `evaluation at step ${step}`);
              },
            },
          },
        );
        assert.equal([counts.length, looks.length], [5, 3]); // looks after 0, 3 and 5 steps
        if (some === halfPoisoned)
          assert.ok(
            penalties.includes(0) && penalties.some((penalty) => penalty > 0),
            penalties.join(' '),
          );
        assert.is(new Set(counts).size, 1, `round ${round}: ${counts.join(' ')}`);
        trained.forEach((tensor) => tensor.dispose());
        assert.is(held(), before, `after training ${round}`);
      }
      network.dispose();
    });
  }
}

test('a tensor that a hook leaves behind is noticed', async () => {
  await useBackend(best);
  const network = await openAdapted(lora, { rank: 2 }),
    counts: string[] = [],
    left: tf.Tensor[] = [];
  const trained = await train(network, rows, settings, {
    onStep: () => {
      left.push(tf.keep(tf.zeros([3])));
      counts.push(held());
    },
  });
  assert.is(new Set(counts).size, 5);
  for (const tensor of [...left, ...trained.values()]) tensor.dispose();
  network.dispose();
});

test.run();
