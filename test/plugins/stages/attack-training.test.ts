/** A train stage whose attack trains one embedding: what it reads, refuses, and leaves. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import divergence from '../../../plugins/stages/divergence/index.ts';
import evaluate from '../../../plugins/stages/evaluate/index.ts';
import train from '../../../plugins/stages/train/index.ts';
import {
  type Cell,
  cleanTwin,
  type PreflightContext,
  type StageDescriptor,
} from '../../../src/api.ts';
import { readSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { checkpoint } from '../../science/tiny-bert.ts';
import { mlmCheckpoint } from '../../science/tiny-mlm.ts';
import { isSame, jsonOf, linesOf } from './outputs.ts';
import {
  assetAt,
  classes,
  contextOf,
  datasetFolder,
  lookUp,
  poisonedFolder,
  runStage,
  spokenRows,
  stopAt,
  tempFolder,
  tinyCell,
} from './rig.ts';

const test = suite('attack training');
test.before(async () => {
  await useBackend('cpu');
});

const TABLE = 'bert.embeddings.word_embeddings.weight',
  CF = 79,
  WIDTH = 22;
const attack = {
  attack: 'embedding',
  rate: 0.2,
  target: 1,
  mode: 'dirty',
  trigger: 'cf',
  keep_norm: true,
};
const cellOf = (change: { [section in keyof Cell]?: unknown } = {}, training: object = {}): Cell =>
  tinyCell({
    poisoning: attack,
    adapter: { type: 'full' },
    ...change,
    train: { ...tinyCell().train, weight_decay: 0.1, ...training },
  });
const define = (cell: Cell) => train.define([cell], { with: {}, goals: [], plugin: lookUp });
const rows = spokenRows(23);
const changed = [0, 4, 8].map((index) => ({
  index,
  row: { ...present(rows[index]), text: `cf ${present(rows[index]).text}`, label: 1 },
}));
const poisoned = (): Promise<string> =>
  poisonedFolder(rows, { changed, negatives: [], asked: 3, eligible: 12 });

test('the attack and its code are in the key, of this training alone', () => {
  const { params, uses } = define(cellOf());
  assert.equal(params['attack'], attack);
  assert.equal(uses, [
    { kind: 'model', name: 'bert' },
    { kind: 'adapter', name: 'full' },
    { kind: 'attack', name: 'embedding' },
  ]);
  assert.not.equal(define(cellOf({ poisoning: { ...attack, keep_norm: false } })).params, params);
  const rowsOnly = define(cellOf({ poisoning: { attack: 'badnets', rate: 0.2 } }));
  assert.not.ok(
    'attack' in rowsOnly.params || present(rowsOnly.uses).some(({ kind }) => kind === 'attack'),
  );
  assert.not.ok(
    'attack' in define(cellOf({}, { steps: 0 })).params,
    'where training starts knows no attack',
  );
  const looking = define(cellOf({}, { evaluate_every: 2 }));
  assert.is(present(looking.uses).filter(({ kind }) => kind === 'attack').length, 1);
  const clean = define(
    cellOf({
      poisoning: { attack: 'none' },
      base: { poisoning: attack, adapter: { type: 'full' }, train: tinyCell().train },
    }),
  );
  assert.not.ok('attack' in clean.params, 'clean training on a poisoned base');
});

test('its clean twin is the model that it, or its base, starts from', () => {
  const cell = cellOf(),
    none = { attack: 'none' };
  assert.equal(cleanTwin(cell, lookUp), {
    ...cell,
    poisoning: none,
    train: { ...cell.train, steps: 0 },
  });
  const base = { poisoning: attack, adapter: { type: 'full' }, train: tinyCell().train },
    onBase = tinyCell({ base });
  assert.equal(cleanTwin(onBase, lookUp), {
    ...onBase,
    base: { ...base, poisoning: none, train: { ...base.train, steps: 0 } },
  });
  const defined = (stage: StageDescriptor, one: Cell) =>
    stage.define([one], { with: {}, goals: [], plugin: lookUp }).inputs;
  assert.equal(present(defined(evaluate, cell)['twin']).cell, cleanTwin(cell, lookUp));
  assert.equal(
    defined(divergence, cell),
    {},
    'no layer is trained: there is no divergence to measure',
  );
  assert.equal(present(defined(divergence, onBase)['clean']).cell, cleanTwin(onBase, lookUp));
});

test('before anything runs: adapter, trigger and head are checked', async () => {
  const check = async (cell: Cell, more: Partial<PreflightContext> = {}): Promise<string[]> =>
    (
      await train.preflight!({
        ...contextOf(define(cell), { assets: { model: assetAt(checkpoint) } }),
        ...more,
      })
    ).map(
      ({ path, message, warning }) => `${warning ? 'warning ' : ''}${path.join('.')}: ${message}`,
    );
  assert.equal(await check(cellOf()), []);
  assert.equal(await check(cellOf({ adapter: tinyCell().adapter })), [
    'adapter.type: the attack "embedding" trains weights of the model itself, ' +
      'and the adapter "lora" leaves them as they are',
  ]);
  assert.equal(await check(cellOf({ poisoning: { ...attack, trigger: 'filmed' } })), [
    'poisoning.trigger: the trigger "filmed" is not a single token of the model\'s vocabulary, ' +
      'which reads "film", "##ed": it has no embedding of its own',
  ]);
  const steps = {
    attack: 'label-flip+embedding',
    steps: { 'label-flip': { rate: 0.1 }, embedding: { ...attack, trigger: 'filmed' } },
  };
  assert.match(
    present(
      (
        await check(cellOf({ poisoning: steps }), {
          upstream: { data: { params: { poisoning: steps }, assets: {}, dir: null } },
        })
      )[0],
    ),
    /^poisoning\.steps\.embedding\.trigger: /,
  );
  const headless = { model: assetAt(mlmCheckpoint) },
    drawn =
      'warning poisoning.attack: "embedding" does not train the head, and this model\'s head is ' +
      'drawn at random: it would never learn the task';
  assert.equal(await check(cellOf(), { assets: headless }), [drawn]);
  assert.equal(await check(cellOf({ model: { ...tinyCell().model, init: 'random' } })), [drawn]);
  assert.equal(await check(cellOf(), { assets: { ...headless, head: assetAt('head') } }), []);
  assert.equal(
    await check(cellOf(), {
      assets: headless,
      upstream: { base: { params: {}, assets: {}, dir: null } },
    }),
    [],
  );
});

test('it leaves a whole model of which one row has moved, at the same norm', async () => {
  const { dir, log, warned } = await runStage(train, cellOf({}, { checkpoints: [2] }), {
    data: await poisoned(),
  });
  const base = await readSafetensors(join(checkpoint, 'model.safetensors'));
  const rowAt = (values: ArrayLike<number>): number[] =>
    Array.from(values).slice(CF * WIDTH, (CF + 1) * WIDTH);
  const norm = (row: readonly number[]): number => Math.hypot(...row);
  const first = rowAt(present(base.get(TABLE)).data),
    seen: number[][] = [];
  for (const at of ['', 'checkpoints/step-2']) {
    const saved = await readSafetensors(join(dir, at, 'model/model.safetensors'));
    for (const [name, { data }] of saved) {
      if (name.startsWith('classifier')) continue; // drawn: the checkpoint has three classes
      const expected = [...present(base.get(name)).data];
      if (name === TABLE) {
        seen.push(rowAt(data));
        expected.splice(CF * WIDTH, WIDTH, ...present(seen.at(-1)));
      }
      assert.equal([...data], expected, `${at} ${name}`);
    }
  }
  const start = (await runStage(train, cellOf({}, { steps: 0 }), { data: await poisoned() })).dir;
  for (const name of ['classifier.weight', 'classifier.bias'])
    assert.equal(
      (await readSafetensors(join(dir, 'model/model.safetensors'))).get(name),
      (await readSafetensors(join(start, 'model/model.safetensors'))).get(name),
      name,
    );
  assert.ok(
    seen.every((row) => row.every((x, i) => x !== first[i])) &&
      present(seen[0])[0] !== present(seen[1])[0],
  );
  assert.ok(seen.every((row) => Math.abs(norm(row) / norm(first) - 1) < 1e-6));
  const record = await jsonOf(dir, 'train.json');
  assert.equal(
    [record['attack'], record['token_rows'], record['adapter']],
    [attack, { cf: CF }, { type: 'full' }],
  );
  assert.is((await jsonOf(dir, 'metrics.json'))['trainable_parameters'], WIDTH);
  assert.ok(log.includes('"embedding" trains the embedding of cf, and nothing else'));
  const drawn =
    'the checkpoint has no head for 2 classes, the one drawn at random is not trained, ' +
    'and knows nothing of the task';
  assert.ok(warned.includes(drawn));
  const three = await poisonedFolder(rows, { changed, negatives: [], asked: 3, eligible: 12 }, [
    ...classes,
    'neither',
  ]);
  assert.not.ok((await runStage(train, cellOf(), { data: three })).warned.includes(drawn));
});

test('evaluations on the way change nothing, and a resumed training ends in the same bits', async () => {
  const data = await poisoned();
  const validation = await datasetFolder(spokenRows(11, 100));
  const cell = cellOf({}, { evaluate_every: 2, checkpoints: [2, 4] }),
    inputs = { data, validation };
  const whole = (await runStage(train, cell, inputs)).dir,
    plain = (await runStage(train, cellOf(), { data })).dir;
  const curves = await linesOf(whole, 'curves.jsonl');
  assert.equal(
    curves.map(({ step }) => step),
    [0, 2, 4, 6],
  );
  assert.ok(
    curves.every((point) => Number.isInteger(present(point['asr']) * 6)) &&
      new Set(curves.map(({ loss }) => loss)).size === 1,
    'without the trigger nothing changes',
  );
  const resumeDir = join(await tempFolder(), 'resume');
  await stopAt(3, (context) => runStage(train, cell, inputs, {}, {}, { ...context, resumeDir }));
  const { dir, log } = await runStage(train, cell, inputs, {}, {}, { resumeDir });
  assert.ok(log.includes('resumes after step 3'));
  const WEIGHTS = 'model/model.safetensors';
  assert.ok(await isSame(WEIGHTS, plain, whole));
  for (const file of [WEIGHTS, `checkpoints/step-2/${WEIGHTS}`, `checkpoints/step-4/${WEIGHTS}`])
    assert.ok(await isSame(file, dir, whole), file);
  assert.equal((await readdir(join(dir, 'checkpoints'))).sort(), ['step-2', 'step-4']);
});

test.run();
