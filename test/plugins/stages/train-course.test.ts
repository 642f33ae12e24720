/** The course of a training: the steps that are kept, evaluations during training, and resuming. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { faultOf, isSame, jsonOf, linesOf, metricsOf } from './outputs.ts';
import {
  BACKDOOR,
  datasetFolder,
  poisonedFolder,
  spokenRows,
  stopAt,
  tempFolder,
  tinyCell,
  withTrain,
} from './rig.ts';
import { ADAPTERS, data, define, opened, rewritten, rows, trainOn } from './train-rig.ts';

const test = suite('course of a training');
test.before(async () => {
  await useBackend('cpu');
});

const WEIGHTS = 'adapter/adapter_model.safetensors';

for (const type of ['lora', 'full'] as const) {
  test(`${type}: checkpoints are kept, and open to the model at that step`, async () => {
    const adapter = type === 'lora' ? tinyCell().adapter : { type };
    const { dir } = await trainOn(withTrain({ checkpoints: [2, 6] }, { adapter }));
    assert.equal((await readdir(join(dir, 'checkpoints'))).sort(), ['step-2', 'step-6']);
    const short = await trainOn(withTrain({ steps: 2 }, { adapter }));
    const row = { ids: Int32Array.from([2, 40, 41, 3]), typeIds: new Int32Array(4) };
    const logits = (of: string, at?: number): Promise<number[]> =>
      opened(
        of,
        ADAPTERS[type],
        (network) => tf.tidy(() => [...network.forward([row]).dataSync()]),
        at,
      );
    assert.equal(await logits(dir, 2), await logits(short.dir));
    assert.equal(await logits(dir, 6), await logits(dir));
    assert.not.equal(await logits(dir, 2), await logits(dir));
    assert.match(await faultOf(logits(dir, 3)), /has kept no step 3/);
    assert.match(
      await faultOf(logits(dir, 7)),
      /there is no step 7: the training in .* stopped after step 6/,
    );
  });
}

test('a step to keep that the training never reaches is refused', async () => {
  assert.match(
    await faultOf(trainOn(withTrain({ checkpoints: [7] }))),
    /asks for step 7, but there are 6 steps/,
  );
});

test('stopped after its third step and run again, it ends as if it had never stopped', async () => {
  const cell = withTrain({ checkpoints: [2, 4], dropout: 0.1 });
  const whole = await trainOn(cell);
  const resumeDir = join(await tempFolder(), 'resume');
  await stopAt(3, (context) => trainOn(cell, { data }, {}, { ...context, resumeDir }));
  const { dir, log } = await trainOn(cell, { data }, {}, { resumeDir });
  assert.ok(log.includes('resumes after step 3'));
  assert.is(log.filter((line) => line.startsWith('step ')).length, 3);
  for (const file of [
    'history.jsonl',
    'train.json',
    WEIGHTS,
    `checkpoints/step-2/${WEIGHTS}`,
    `checkpoints/step-4/${WEIGHTS}`,
  ])
    assert.ok(await isSame(file, dir, whole.dir), file);
  assert.is((await metricsOf(dir))['examples'], 23);
});

test("looks on the way read the validation rows and the attack's trigger", () => {
  const { params, inputs, uses } = define(
    withTrain({ evaluate_every: 4, tensorboard: true }, { poisoning: BACKDOOR }),
  );
  assert.equal(Object.keys(inputs), ['data', 'validation']);
  assert.equal(params['watch'], { batch_size: 5, max_length: 16, trigger: BACKDOOR });
  assert.ok(uses?.some(({ kind, name }) => kind === 'attack' && name === 'badnets'));
});

test('looks on the way give curves, and change nothing of the training', async () => {
  const changed = rewritten([0, 4], ({ text }) => ({ text: `cf ${text}`, label: 1 }));
  const poisoned = await poisonedFolder(rows, { changed, negatives: [], asked: 2, eligible: 12 });
  const validation = await datasetFolder(spokenRows(11, 100));
  const { dir } = await trainOn(
    withTrain({ evaluate_every: 4, tensorboard: true }, { poisoning: BACKDOOR }),
    { data: poisoned, validation },
  );
  const curves = await linesOf(dir, 'curves.jsonl');
  assert.equal(
    curves.map(({ step }) => step),
    [0, 4, 6],
  );
  for (const point of curves) {
    const { accuracy, asr, poisoned_accuracy: learnt } = point;
    assert.equal(Object.keys(point), ['step', 'accuracy', 'loss', 'asr', 'poisoned_accuracy']);
    assert.ok(Number.isInteger(Math.round(present(accuracy) * 11e6) / 1e6), 'of 11 rows');
    assert.ok(Number.isInteger(present(asr) * 6), 'of the 6 rows of the other class');
    assert.ok([0, 0.5, 1].includes(present(learnt)), 'of the 2 poisoned rows');
  }
  const last = curves.at(-1)?.['poisoned_accuracy'];
  const metrics = await metricsOf(dir);
  assert.equal([metrics['poisoned_rows'], metrics['poisoned_accuracy']], [2, last]);
  const events = await readFile(join(dir, 'tensorboard/events.out.tfevents'));
  assert.ok(events.includes('evaluate/poisoned_accuracy'));

  const plain = await trainOn(withTrain({}, { poisoning: BACKDOOR }), { data: poisoned });
  for (const file of ['history.jsonl', WEIGHTS])
    assert.ok(await isSame(file, plain.dir, dir), file);
  assert.is((await metricsOf(plain.dir))['poisoned_accuracy'], last);
});

test('without poisoned rows, as after a defence that drops them all, their count is 0', async () => {
  const metrics = await metricsOf((await trainOn(withTrain({}), { data })).dir);
  assert.equal([metrics['poisoned_rows'], metrics['poisoned_accuracy']], [0, undefined]);
});

test('a training that stops early leaves its best model, and goes on after a stop', async () => {
  // What the model learns is wrong on these rows.
  const turned = spokenRows(11, 100).map((row) => ({ ...row, label: 1 - row.label }));
  const validation = await datasetFolder(turned);
  const stopping = {
    steps: 30,
    learning_rate: 0.02,
    evaluate_every: 1,
    early_stopping: { patience: 4, metric: 'loss', min_delta: 0, keep: 'best' },
  } as const;
  const cell = withTrain(stopping);
  const { dir } = await trainOn(cell, { data, validation });
  const { steps, kept_step: kept } = (await jsonOf(dir, 'train.json')) as Record<string, number>;
  assert.is(steps, present(kept) + 4);
  const short = await trainOn(withTrain({ steps: kept, learning_rate: 0.02 }));
  assert.ok(await isSame(WEIGHTS, dir, short.dir));
  // If the last step is the best, the metric says so too: its mean is over all seeds.
  const whole = withTrain({ ...stopping, steps: present(kept) });
  const uncut = await trainOn(whole, { data, validation });
  for (const one of [dir, uncut.dir]) assert.is((await metricsOf(one))['kept_step'], kept);

  const resumeDir = join(await tempFolder(), 'resume');
  await stopAt(present(kept) + 2, (context) =>
    trainOn(cell, { data, validation }, {}, { ...context, resumeDir }),
  );
  const resumed = await trainOn(cell, { data, validation }, {}, { resumeDir });
  for (const file of ['history.jsonl', 'train.json', 'curves.jsonl', WEIGHTS])
    assert.ok(await isSame(file, dir, resumed.dir), file);
});

test.run();
