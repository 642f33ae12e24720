/** A regression head compared with transformers' (test/golden/regression.py). */
import { readFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { full } from '../../../src/science/models/fine-tuning.ts';
import { readConfig } from '../../../src/science/models/head.ts';
import { readSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { meanSquaredError } from '../../../src/science/models/loss.ts';
import { type Network, openNetwork } from '../../../src/science/models/network.ts';
import { lossAndGradients } from '../../../src/science/training/gradients.ts';
import { train } from '../../../src/science/training/loop.ts';
import { present } from '../../rig/present.ts';
import { tolerance } from '../../tolerances.ts';
import { assertGradients } from '../assert-gradients.ts';
import { backends, useBackend } from '../backend.ts';
import { bert } from '../families.ts';
import { plainTraining } from '../plain-training.ts';
import { checkpoint, farthest, golden, logitsOf, rows as classified } from '../tiny-bert.ts';

interface Golden {
  readonly steps: number;
  readonly batch_size: number;
  readonly learning_rate: number;
  readonly scores: readonly number[];
  readonly head: Readonly<Record<'classifier.weight' | 'classifier.bias', readonly number[]>>;
  readonly outputs: readonly number[];
  readonly losses: readonly number[];
}
const reference = JSON.parse(await readFile(`${golden}regression.json`, 'utf8')) as Golden;
const rows = classified.map((row, i) => ({ ...row, label: present(reference.scores[i]) }));

async function openScorer(): Promise<Network> {
  const config = bert.parseConfig(await readConfig(checkpoint), 1);
  const shape = {
    architecture: bert,
    linears: bert.linears(config),
    parameters: bert.parameters(config),
  };
  const { 'classifier.weight': weight, 'classifier.bias': bias } = reference.head;
  return openNetwork({
    architecture: bert,
    model: { path: checkpoint, digest: 'tiny-bert' },
    adapter: await full.create({}, shape),
    classes: 1,
    seed: 1,
    head: new Map([
      ['classifier.weight', { shape: [1, weight.length], data: Float32Array.from(weight) }],
      ['classifier.bias', { shape: [1], data: Float32Array.from(bias) }],
    ]),
  });
}

for (const backend of backends) {
  test(`one output a row, and every gradient, are transformers' (${backend})`, async () => {
    await useBackend(backend);
    const network = await openScorer();
    assert.ok(farthest(logitsOf(network, rows), reference.outputs) < tolerance.logits);
    const expected = await readSafetensors(`${golden}regression.safetensors`);
    const some = rows.slice(0, reference.batch_size);
    const { loss, gradients } = lossAndGradients(network, network.initial, {
      rows: some,
      labels: some.map(({ label }) => label),
    });
    assert.ok(farthest(loss.dataSync(), [present(reference.losses[0])]) < tolerance.loss);
    assertGradients(gradients, expected);
    loss.dispose();
    network.dispose();
  });

  test(`the loss of each step is transformers' (${backend})`, async () => {
    await useBackend(backend);
    const network = await openScorer();
    const losses: number[] = [],
      counts: number[] = [];
    const trained = await train(
      network,
      rows,
      {
        ...plainTraining,
        steps: reference.steps,
        batchSize: reference.batch_size,
        learningRate: reference.learning_rate,
        weightDecay: 0,
      },
      {
        onStep: ({ loss }) => {
          losses.push(loss);
          counts.push(tf.memory().numTensors);
        },
      },
    );
    assert.ok(farthest(losses, reference.losses) < tolerance.loss, losses.join(' '));
    assert.is(new Set(counts).size, 1, `tensors over the steps: ${counts.join(' ')}`);
    trained.forEach((tensor) => tensor.dispose());
    network.dispose();
  });

  test(`the squared error of two rows by hand (${backend})`, async () => {
    await useBackend(backend);
    const { value, grad } = tf.valueAndGrad((x) => meanSquaredError(x as tf.Tensor2D, [1, 4]))(
      tf.tensor2d([3, 1], [2, 1]),
    );
    assert.is(value.dataSync()[0], (2 ** 2 + 3 ** 2) / 2);
    assert.equal([...grad.dataSync()], [2, -3]);
  });
}

test.run();
