import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at, named } from '../../../src/base/lookup.ts';
import type { Network } from '../../../src/science/models/network.ts';
import { train, type TrainSettings } from '../../../src/science/training/loop.ts';
import { isWorthShrinking, makeGrouping } from '../../../src/science/training/trained-values.ts';
import { present } from '../../rig/present.ts';
import { backends, useBackend } from '../backend.ts';
import { plainTraining } from '../plain-training.ts';
import { farthest, openTiny, rows } from '../tiny-bert.ts';

const settings: TrainSettings = {
  ...plainTraining,
  steps: 5,
  batchSize: 2,
  learningRate: 5e-3,
  weightDecay: 0.1,
  schedule: 'linear',
};
const few = rows.slice(0, 4);

for (const backend of backends) {
  for (const optimizer of ['adamw', 'sgd'] as const) {
    test(`used rows are trained like the whole table (${optimizer}, ${backend})`, async () => {
      await useBackend(backend);
      const network = await openTiny('full');
      assert.ok(isWorthShrinking(network.initial.get('embeddings.word_embeddings.weight'), few));
      const plain: Network = {
        ...network,
        architecture: { ...network.architecture, tokenTable: null },
      };
      const results: Map<string, Tensor>[] = [];
      for (const one of [network, plain])
        results.push(await train(one, few, { ...settings, optimizer }));
      const [small, whole] = results as [Map<string, Tensor>, Map<string, Tensor>];
      assert.equal([...small.keys()].sort(), [...whole.keys()].sort());
      for (const [name, tensor] of whole) {
        assert.equal(named(small, name).shape, tensor.shape);
        assert.ok(farthest(named(small, name).dataSync(), tensor.dataSync()) < 2e-6, name);
      }
      const start = named(network.initial, 'embeddings.word_embeddings.weight').dataSync(),
        end = named(small, 'embeddings.word_embeddings.weight').dataSync();
      const unused = 100,
        used = at(at(few, 0).ids, 1);
      assert.ok(!few.some(({ ids }) => ids.includes(unused)));
      assert.ok(
        Math.abs(at(end, unused * 22) / at(start, unused * 22) - 1) > 1e-4,
        'an unused row decays',
      );
      assert.ok(Math.abs(at(end, used * 22) - at(start, used * 22)) > 1e-4);
      for (const result of results) result.forEach((tensor) => tensor.dispose());
      network.dispose();
    });
  }

  test(`ungrouping restores the grouped tensors (${backend})`, async () => {
    await useBackend(backend);
    const shapes: Record<string, number[]> = {
      A1: [3, 7],
      A2: [3, 11],
      B1: [13, 3],
      B2: [5, 3],
      bias1: [13],
      bias2: [5],
      big: [300, 301],
      big2: [300, 301],
      square: [3, 3],
    };
    const tensors = new Map(
      Object.entries(shapes).map(([name, shape], k) => [
        name,
        tf.add<Tensor>(
          tf.reshape(
            tf.range(
              0,
              shape.reduce((a, b) => a * b, 1),
            ),
            shape,
          ),
          k * 1000,
        ),
      ]),
    );
    const grouping = makeGrouping(tensors);
    const before = tf.memory().numTensors;
    const packed = grouping.pack(tensors);
    assert.equal(
      [...packed].map(([key, { shape }]) => [key, shape]),
      [
        ['(3, ·)', [3, 21]],
        ['(·, 3)', [18, 3]],
        ['(·)', [18]],
        ['big', [300, 301]],
        ['big2', [300, 301]],
      ],
    );
    const back = grouping.unpack(packed);
    for (const [name, tensor] of tensors) {
      assert.equal(named(back, name).shape, tensor.shape);
      assert.equal([...present(back.get(name)).dataSync()], [...tensor.dataSync()], name);
    }
    assert.is(tf.memory().numTensors, before + packed.size + back.size);
    for (const map of [tensors, packed, back]) map.forEach((tensor) => tensor.dispose());
  });
}

test.run();
