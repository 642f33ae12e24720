/**
 * Fifty steps with fused operations: compiled as one by one, to the bit, and as composed of
 * TensorFlow's operations, as closely as float32 can tell.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import { vera } from '../../../plugins/adapters/vera/vera.ts';
import type { JsonObject } from '../../../src/api.ts';
import { randomStream } from '../../../src/base/random.ts';
import type { AdapterImplementation } from '../../../src/science/models/adapter.ts';
import { full } from '../../../src/science/models/fine-tuning.ts';
import type { Network } from '../../../src/science/models/network.ts';
import { train, type TrainSettings } from '../../../src/science/training/loop.ts';
import { disposeAll } from '../../../src/science/training/trained-values.ts';
import { prepareCompiling } from '../../../src/tensor/compiled/compiled.ts';
import { hasFused, withoutFused } from '../../../src/tensor/fused.ts';
import { backends, useBackend } from '../backend.ts';
import { bitfit } from '../plain-adapters.ts';
import { plainTraining } from '../plain-training.ts';
import { farthest, openAdapted, rows } from '../tiny-bert.ts';

const settings: TrainSettings = {
  ...plainTraining,
  steps: 50,
  batchSize: 4,
  learningRate: 1e-3,
  weightDecay: 0.01,
  shuffle: true,
  seed: 3,
};

/** Each value moved at random by at most one unit of its last bit. */
function nudged(tensor: Tensor, seed: number, name: string): Tensor {
  const stream = randomStream(seed, 'last bits', name);
  const moved = Array.from(
    tensor.dataSync(),
    (x) => x * (1 + (2 * stream.uniform() - 1) * 2 ** -23),
  );
  return tf.tensor(moved, tensor.shape);
}

/** The same network, whose trained parameters start beside where they did. */
function nudgedNetwork(network: Network, seed: number): Network {
  const initial = new Map(
    [...network.initial].map(([name, tensor]) => [name, nudged(tensor, seed, name)]),
  );
  return { ...network, initial };
}

const TRAININGS: Readonly<Record<string, readonly [AdapterImplementation, JsonObject]>> = {
  LoRA: [lora, { rank: 4 }],
  'full fine-tuning': [full, {}],
  BitFit: [bitfit, {}],
  VeRA: [vera, { rank: 4 }],
};

async function lossesOf(network: Network): Promise<number[]> {
  const losses: number[] = [];
  const trained = await train(network, rows, settings, {
    onStep: ({ loss }) => {
      losses.push(loss);
    },
  });
  disposeAll(trained);
  return losses;
}

if (backends.includes('tensorflow'))
  for (const [name, [adapter, params]] of Object.entries(TRAININGS))
    test(`${name}: fused steps have the losses of composed ones`, async () => {
      await useBackend('tensorflow');
      if (!hasFused()) return;
      const network = await openAdapted(adapter, params);
      prepareCompiling(Infinity);
      const eager = await lossesOf(network);
      prepareCompiling(1);
      const fused = await lossesOf(network);
      assert.equal(fused, eager, 'compiled and one by one');
      await withoutFused(async () => {
        assert.not(hasFused());
        const composed = await lossesOf(network),
          gap = farthest(fused, composed);
        // The two round differently at every operation of every step. How far apart float32 lets
        // losses drift is seen from trainings on the same operations whose weights start one unit
        // of the last bit away. That is one rounding, not one at each operation, hence the factor.
        let drift = 0;
        for (const seed of [1, 2])
          drift = Math.max(drift, farthest(await lossesOf(nudgedNetwork(network, seed)), composed));
        assert.ok(drift > 0, 'the last bits change nothing');
        assert.ok(gap <= 4 * drift, `${gap}, where float32 drifts by ${drift}`);
      });
      network.dispose();
    });

test.after(() => {
  if (backends.includes('tensorflow')) prepareCompiling();
});

test.run();
