/** Training on the tiny checkpoint, compared with PyTorch + PEFT (test/golden/tiny_bert.py). */
import { readFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../../src/base/lookup.ts';
import { readSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { lossAndGradients } from '../../../src/science/training/gradients.ts';
import { type StepRecord, train, type TrainSettings } from '../../../src/science/training/loop.ts';
import { tolerance } from '../../tolerances.ts';
import { assertGradients } from '../assert-gradients.ts';
import { backends, useBackend } from '../backend.ts';
import { farthest, golden, openTiny, rows } from '../tiny-bert.ts';

interface Golden {
  readonly steps: number;
  readonly batch_size: number;
  readonly warmup: number;
  readonly runs: Readonly<
    Record<
      string,
      {
        readonly settings: {
          readonly lr: number;
          readonly weight_decay: number;
          readonly betas?: readonly [number, number];
          readonly eps?: number;
        };
        readonly losses: readonly number[];
        readonly learning_rates: readonly number[];
      }
    >
  >;
}
const reference = JSON.parse(await readFile(`${golden}training.json`, 'utf8')) as Golden;

for (const backend of backends) {
  for (const [name, run] of Object.entries(reference.runs)) {
    test(`${name}: the loss of each step is PyTorch's (${backend})`, async () => {
      await useBackend(backend);
      const [kind, optimizer, schedule] = name.split('-') as [
        'full' | 'lora',
        'adamw' | 'sgd',
        'constant' | 'linear' | 'cosine',
      ];
      const network = await openTiny(kind);
      const settings: TrainSettings = {
        steps: reference.steps,
        batchSize: reference.batch_size,
        optimizer,
        schedule,
        warmup: schedule === 'constant' ? 0 : reference.warmup,
        learningRate: run.settings.lr,
        weightDecay: run.settings.weight_decay,
        beta1: run.settings.betas?.[0] ?? 0.9,
        beta2: run.settings.betas?.[1] ?? 0.999,
        epsilon: run.settings.eps ?? 1e-8,
        shuffle: false,
        dropout: 0,
        seed: 1,
      };
      const history: StepRecord[] = [],
        counts: number[] = [];
      const trained = await train(network, rows, settings, {
        onStep: (record) => {
          history.push(record);
          counts.push(tf.memory().numTensors);
        },
      });
      assert.ok(
        farthest(
          history.map(({ loss }) => loss),
          run.losses,
        ) < tolerance.loss,
        JSON.stringify(history.map(({ loss }, i) => loss - at(run.losses, i))),
      );
      assert.ok(
        farthest(
          history.map(({ learning_rate: rate }) => rate),
          run.learning_rates,
        ) < 1e-12,
      );
      assert.is(new Set(counts).size, 1, `tensors over the steps: ${counts.join(' ')}`);
      trained.forEach((tensor) => tensor.dispose());
      network.dispose();
    });
  }

  for (const kind of ['lora', 'full'] as const) {
    test(`${kind}: every parameter's gradient is PyTorch's (${backend})`, async () => {
      await useBackend(backend);
      const expected = await readSafetensors(`${golden}gradients-${kind}.safetensors`);
      const network = await openTiny(kind);
      const some = rows.slice(0, reference.batch_size);
      const { loss, gradients } = lossAndGradients(network, network.initial, {
        rows: some,
        labels: some.map(({ label }) => label),
      });
      assertGradients(gradients, expected);
      loss.dispose();
      network.dispose();
    });
  }
}

test.run();
