/**
 * Clipping, accumulation, decay groups and class weights compared with transformers' Trainer
 * (training_options.py).
 */
import { readFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../../src/base/lookup.ts';
import { crossEntropy } from '../../../src/science/models/loss.ts';
import { clipByGlobalNorm } from '../../../src/science/training/gradients.ts';
import { type StepRecord, train, type TrainSettings } from '../../../src/science/training/loop.ts';
import { computeClassWeights } from '../../../src/science/training/settings.ts';
import { isBiasOrNorm } from '../../../src/science/training/trained-values.ts';
import { present } from '../../rig/present.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, best, useBackend } from '../backend.ts';
import { plainTraining } from '../plain-training.ts';
import { farthest, golden, openTiny, rows } from '../tiny-bert.ts';

interface Golden {
  readonly steps: number;
  readonly batch_size: number;
  readonly warmup: number;
  readonly runs: Readonly<
    Record<
      string,
      {
        readonly kind: 'full' | 'lora';
        readonly settings: {
          readonly learning_rate: number;
          readonly weight_decay: number;
          readonly max_grad_norm: number;
          readonly gradient_accumulation_steps?: number;
          readonly class_weights: readonly number[] | null;
        };
        readonly batch_losses: readonly number[];
        readonly free_of_decay: readonly string[];
      }
    >
  >;
}
const reference = JSON.parse(await readFile(`${golden}training-options.json`, 'utf8')) as Golden;

/**
 * The mean loss of the batches of each step. An epoch has five batches, and its last step has the
 * remaining ones.
 */
function stepLosses(losses: readonly number[], accumulate: number): number[] {
  const out: number[] = [];
  for (let epoch = 0; epoch < losses.length; epoch += 5) {
    const of = losses.slice(epoch, epoch + 5);
    for (let start = 0; start < of.length; start += accumulate) {
      const some = of.slice(start, start + accumulate);
      out.push(some.reduce((a, b) => a + b, 0) / some.length);
    }
  }
  return out;
}

for (const backend of backends) {
  for (const [name, run] of backend === best ? Object.entries(reference.runs) : []) {
    test(`${name}: the loss of each step is the Trainer's (${backend})`, async () => {
      await useBackend(backend);
      const { kind, settings: given, batch_losses: losses } = run;
      const network = await openTiny(kind),
        accumulate = given.gradient_accumulation_steps ?? 1;
      const settings: TrainSettings = {
        ...plainTraining,
        steps: reference.steps,
        batchSize: reference.batch_size,
        schedule: 'linear',
        warmup: reference.warmup,
        learningRate: given.learning_rate,
        weightDecay: given.weight_decay,
        decay: 'weights',
        clipNorm: given.max_grad_norm,
        accumulate,
        ...(given.class_weights === null ? {} : { classWeights: given.class_weights }),
      };
      const history: StepRecord[] = [],
        counts: number[] = [];
      const trained = await train(network, rows, settings, {
        onStep: (record) => {
          history.push(record);
          counts.push(tf.memory().numTensors);
        },
      });
      const expected = stepLosses(losses, accumulate);
      assert.is(expected.length, reference.steps);
      assert.ok(
        farthest(
          history.map(({ loss }) => loss),
          expected,
        ) < tolerance.loss,
        JSON.stringify(history.map(({ loss }, i) => loss - at(expected, i))),
      );
      assert.is(new Set(counts).size, 1, `tensors over the steps: ${counts.join(' ')}`);
      trained.forEach((tensor) => tensor.dispose());
      network.dispose();
    });
  }

  test(`a gradient is scaled down to the bound, if it exceeds it (${backend})`, async () => {
    await useBackend(backend);
    const gradients = new Map<string, tf.Tensor>([
      ['a', tf.tensor1d([3, 0])],
      ['b', tf.tensor2d([[4]])],
    ]); // norm 5
    const before = tf.memory().numTensors;
    const cut = clipByGlobalNorm(gradients, 1),
      left = clipByGlobalNorm(gradients, 6);
    assert.ok(
      farthest(
        [...present(cut.get('a')).dataSync(), ...present(cut.get('b')).dataSync()],
        [0.6, 0, 0.8],
      ) < 1e-6,
    );
    assert.equal(
      [...present(left.get('a')).dataSync(), ...present(left.get('b')).dataSync()],
      [3, 0, 4],
    );
    assert.is(tf.memory().numTensors, before + 4);
    for (const map of [gradients, cut, left]) map.forEach((tensor) => tensor.dispose());
  });

  test(`class weights of one change nothing (${backend})`, async () => {
    await useBackend(backend);
    const logits = tf.tensor2d([
        [0.3, -1, 2],
        [1, 0.5, -0.2],
      ]),
      labels = [2, 1];
    const both = [undefined, [1, 1, 1]].map((weights) =>
      tf.valueAndGrad((x) => crossEntropy(x as tf.Tensor2D, labels, weights))(logits),
    );
    assert.ok(farthest(at(both, 0).value.dataSync(), at(both, 1).value.dataSync()) < 1e-6);
    assert.ok(farthest(at(both, 0).grad.dataSync(), at(both, 1).grad.dataSync()) < 1e-6);
    for (const { value, grad } of both) {
      value.dispose();
      grad.dispose();
    }
    logits.dispose();
  });
}

test('the same parameters as in the Trainer are exempt from decay', async () => {
  const network = await openTiny('full');
  assert.equal(
    network.trainable.filter(isBiasOrNorm).sort(),
    [...present(reference.runs['decay']).free_of_decay].sort(),
  );
  network.dispose();
  assert.ok(
    [
      'encoder.layer.0.attention.self.query.lora_A',
      'pooler.dense.lora_B',
      'embeddings.word_embeddings.weight',
      'classifier.weight',
    ].every((name) => !isBiasOrNorm(name)),
  );
});

test('balanced weights are N/(C·n), and a list must have one weight for each class', () => {
  assert.equal(computeClassWeights('balanced', [0, 0, 0, 1, 0, 1], ['a', 'b', 'c']), [
    6 / (3 * 4),
    6 / (3 * 2),
    0,
  ]);
  assert.is(computeClassWeights('none', [0, 1], ['a', 'b']), undefined);
  assert.equal(computeClassWeights([1, 3], [0, 1], ['a', 'b']), [1, 3]);
  assert.throws(
    () => computeClassWeights([1, 2, 3], [0, 1], ['a', 'b']),
    /lists 3 weights, but there are 2 classes: a, b/,
  );
});

test.run();
