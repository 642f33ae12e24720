/**
 * Training only some rows of the token table, compared with PyTorch (test/golden/embedding_row.py).
 */
import { mkdtempSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { at, named } from '../../../src/base/lookup.ts';
import { full } from '../../../src/science/models/fine-tuning.ts';
import { readSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { lossAndGradients } from '../../../src/science/training/gradients.ts';
import { type LabelledRow, train, type TrainSettings } from '../../../src/science/training/loop.ts';
import { openTrainee, type Trainee } from '../../../src/science/training/session.ts';
import { disposeAll } from '../../../src/science/training/trained-values.ts';
import { present } from '../../rig/present.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, useBackend } from '../backend.ts';
import { bert } from '../families.ts';
import { plainTraining } from '../plain-training.ts';
import { checkpoint, classes, farthest, golden, logitsOf, openTiny, shape } from '../tiny-bert.ts';

interface Golden {
  readonly trigger: number;
  readonly steps: number;
  readonly batch_size: number;
  readonly rows: readonly {
    readonly ids: number[];
    readonly typeIds: number[];
    readonly label: number;
  }[];
  readonly runs: Readonly<
    Record<
      string,
      {
        readonly settings: {
          readonly optimizer: 'adamw' | 'sgd';
          readonly lr: number;
          readonly weight_decay: number;
          readonly keep_norm: boolean;
        };
        readonly losses: readonly number[];
        /** The trained row after each step. */
        readonly rows: readonly number[][];
      }
    >
  >;
}
const reference = JSON.parse(await readFile(`${golden}embedding-row.json`, 'utf8')) as Golden;
const rows: LabelledRow[] = reference.rows.map(({ ids, typeIds, label }) => ({
  ids: Int32Array.from(ids),
  typeIds: Int32Array.from(typeIds),
  label,
}));
const TABLE = 'embeddings.word_embeddings.weight',
  { trigger } = reference;
const folder = mkdtempSync(join(tmpdir(), 'trainee-'));

const open = async (
  keepNorms: boolean,
  tokenRows: Record<string, number> = { cf: trigger },
): Promise<Trainee> =>
  openTrainee(
    {
      architecture: bert,
      model: { path: checkpoint, digest: 'tiny-bert' },
      adapter: await full.create({}, shape),
      classes,
      seed: 1,
    },
    { trains: { tokenRows, keepNorms } },
  );
const plain: TrainSettings = {
  ...plainTraining,
  steps: reference.steps,
  batchSize: reference.batch_size,
  learningRate: 5e-2,
  weightDecay: 0.1,
};

test('the golden rows contain the trigger twice, once and not at all', () => {
  const times = rows.map(({ ids }) => ids.filter((id) => id === trigger).length);
  assert.equal(new Set(times), new Set([0, 1, 2]));
  assert.ok(
    times.slice(0, reference.batch_size).every((n) => n === 0),
    'a whole batch without it',
  );
});

for (const backend of backends) {
  for (const [name, { settings, losses, rows: after }] of Object.entries(reference.runs)) {
    test(`${name}: losses and row are PyTorch's, other weights kept (${backend})`, async () => {
      await useBackend(backend);
      const { network, rules, save } = await open(settings.keep_norm);
      assert.equal(
        [network.trainable.length, present([...network.initial.values()][0]).shape],
        [1, [1, 22]],
      );
      const seen: number[] = [],
        steps: number[][] = [];
      const trained = await train(
        network,
        rows,
        {
          ...plain,
          optimizer: settings.optimizer,
          learningRate: settings.lr,
          weightDecay: settings.weight_decay,
          ...rules,
        },
        {
          onStep: ({ loss }) => {
            seen.push(loss);
          },
          onWeights: {
            wants: (step) => step > 0,
            see: (_step, weights) => {
              steps.push([...[...weights.values()].flatMap((row) => [...row.dataSync()])]);
              return Promise.resolve(undefined);
            },
          },
        },
      );
      assert.ok(farthest(seen, losses) < tolerance.loss, 'losses');
      assert.ok(farthest(steps.flat(), after.flat()) < tolerance.loss, 'rows');
      const dir = join(folder, backend, name);
      await save(trained, dir, { modelDir: checkpoint, classes: ['a', 'b', 'c'] });
      const saved = await readSafetensors(join(dir, 'model/model.safetensors')),
        base = await readSafetensors(join(checkpoint, 'model.safetensors'));
      assert.equal([...saved.keys()].sort(), [...base.keys()].sort());
      for (const [parameter, { data }] of saved) {
        const expected = [...present(base.get(parameter)).data];
        if (parameter === bert.externalName(TABLE))
          expected.splice(trigger * 22, 22, ...present(steps.at(-1)));
        assert.equal([...data], expected, parameter);
      }
      disposeAll(trained);
      network.dispose();
    });
  }

  test(`the gradients of several rows are those of the whole table (${backend})`, async () => {
    await useBackend(backend);
    const whole = await openTiny('full'),
      ids = { of: at(at(rows, 0).ids, 1), cf: trigger, sep: 3 };
    const { network } = await open(false, ids);
    for (const some of [
      rows.slice(0, 3),
      rows.slice(5, 12),
      [{ ids: Int32Array.from([3, trigger]), typeIds: new Int32Array(2), label: 0 }],
    ]) {
      assert.ok(farthest(logitsOf(network, some), logitsOf(whole, some)) < tolerance.rounding);
      const batch = { rows: some, labels: some.map(({ label }) => label) };
      const mine = lossAndGradients(network, network.initial, batch),
        theirs = lossAndGradients(whole, whole.initial, batch);
      const table = named(theirs.gradients, TABLE).dataSync() as Float32Array,
        own = present([...mine.gradients.values()][0]).dataSync();
      const scale = table.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      assert.ok(
        farthest(
          own,
          Object.values(ids).flatMap((id) => [...table.subarray(id * 22, (id + 1) * 22)]),
        ) <
          tolerance.gradient * scale + 1e-6,
      );
      for (const { loss, gradients } of [mine, theirs]) {
        loss.dispose();
        disposeAll(gradients);
      }
    }
    network.dispose();
    whole.dispose();
  });

  test(`steps, evaluations, saves and trainings leave no tensor (${backend})`, async () => {
    await useBackend(backend);
    const first = await open(true); // the base remains cached
    first.network.dispose();
    const before = tf.memory().numTensors;
    const { network, rules, save } = await open(true),
      counts: number[] = [];
    const trained = await train(
      network,
      rows,
      { ...plain, ...rules },
      {
        onStep: () => {
          counts.push(tf.memory().numTensors);
        },
        onWeights: {
          wants: (step) => step % 5 === 0,
          see: async (step, weights) => {
            await save(weights, join(folder, backend, `look-${step}`), {
              modelDir: checkpoint,
              classes: ['a', 'b', 'c'],
            });
            return undefined;
          },
        },
      },
    );
    assert.is(new Set(counts).size, 1, counts.join(' '));
    disposeAll(trained);
    network.dispose();
    assert.is(tf.memory().numTensors, before);
  });
}

test.run();
