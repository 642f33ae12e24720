/** Prompt-based fine-tuning: train, evaluate and kernel on the tiny masked-LM. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import delta from '../../../plugins/stages/delta/index.ts';
import evaluate from '../../../plugins/stages/evaluate/index.ts';
import fisher from '../../../plugins/stages/fisher/index.ts';
import kernel from '../../../plugins/stages/kernel/index.ts';
import ntk from '../../../plugins/stages/ntk/index.ts';
import regime from '../../../plugins/stages/regime/index.ts';
import spectrum from '../../../plugins/stages/spectrum/index.ts';
import train from '../../../plugins/stages/train/index.ts';
import {
  type Asset,
  beforeTraining,
  type Cell,
  type JsonObject,
  pointName,
  type StageDescriptor,
} from '../../../src/api.ts';
import { openCheckpoint } from '../../../src/science/models/io/checkpoint.ts';
import { readNpy } from '../../../src/science/models/io/npy.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { farthest } from '../../science/tiny-bert.ts';
import { mlm, mlmCheckpoint, mlmClasses } from '../../science/tiny-mlm.ts';
import { tolerance } from '../../tolerances.ts';
import { logitsOf as logitsIn } from './outputs.ts';
import {
  assetAt,
  contextOf,
  datasetFolder,
  modelAsset,
  poisonedFolder,
  runStage,
  tinyCell,
} from './rig.ts';

await useBackend('cpu');
const single = mlm.rows.filter(({ pair }) => pair === null);
const rows = single.map(({ text, label }, i) => ({ id: `r${i}`, text, label }));
const asset = assetAt(mlmCheckpoint, 'mlm');
const head = { type: 'cloze', template: mlm.template, verbalizer: mlm.verbalizer };
const cellOf = (
  adapter: object,
  steps: number,
  change: { [section in keyof Cell]?: unknown } = {},
): Cell =>
  tinyCell({
    model: { source: asset.uri, architecture: 'bert', init: 'pretrained' },
    head,
    adapter,
    train: { ...tinyCell().train, steps, learning_rate: 0.02 },
    ...change,
  });

const data = await poisonedFolder(rows, undefined, mlmClasses);
const validation = await datasetFolder(rows, mlmClasses);
const trained = async (cell: Cell): Promise<string> =>
  (await runStage(train, cell, { data }, {}, { model: asset })).dir;
const logitsOf = async (cell: Cell, model: string): Promise<number[]> => {
  const { dir } = await runStage(evaluate, cell, { model, validation }, {}, { model: asset });
  return logitsIn(dir);
};

test('the untrained model scores as BertForMaskedLM does at the mask, under LoRA too', async () => {
  for (const adapter of [{ type: 'full' }, { type: 'lora', rank: 2 }]) {
    const cell = cellOf(adapter, 0);
    assert.ok(
      farthest(
        await logitsOf(cell, await trained(cell)),
        mlm.full.logits.slice(0, rows.length).flat(),
      ) < tolerance.logits,
      adapter.type,
    );
  }
});

test('it learns under both adapters, and what is saved is read again', async () => {
  const before = tf.memory().numTensors;
  for (const adapter of [{ type: 'full' }, { type: 'lora', rank: 3 }]) {
    const cell = cellOf(adapter, 40, {
        train: {
          ...tinyCell().train,
          steps: 40,
          learning_rate: adapter.type === 'full' ? 0.003 : 0.02,
        },
      }),
      dir = await trained(cell);
    const losses = (await readFile(join(dir, 'history.jsonl'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { loss: number }).loss);
    const mean = (some: number[]): number => some.reduce((a, b) => a + b) / some.length;
    assert.ok(mean(losses.slice(-6)) < 0.7 * mean(losses.slice(0, 6)), adapter.type);
    const { dir: scored } = await runStage(
      evaluate,
      cell,
      { model: dir, validation },
      {},
      { model: asset },
    );
    const { accuracy } = JSON.parse(await readFile(join(scored, 'metrics.json'), 'utf8')) as {
      accuracy: number;
    };
    assert.ok(accuracy > 0.7, `${adapter.type}: ${accuracy}`);
    if (adapter.type === 'full') {
      const saved = await openCheckpoint(join(dir, 'model'));
      assert.equal((saved.config as { architectures: string[] }).architectures, [
        'BertForMaskedLM',
      ]);
      assert.equal(
        [...saved.tensors.keys()].sort(),
        [...(await openCheckpoint(mlmCheckpoint)).tensors.keys()].sort(),
      );
    }
  }
  assert.is(tf.memory().numTensors, before, 'the base that is kept warm was there before');
});

test("the kernel is of the verbalizer's logits, over the adapted layers", async () => {
  const cell = cellOf({ type: 'lora', rank: 3 }, 0);
  const { dir } = await runStage(
    kernel,
    cell,
    { model: await trained(cell), rows: validation },
    { at: 'init' },
    { model: asset },
  );
  assert.ok(
    farthest((await readNpy(join(dir, 'logits.npy'))).data, mlm.full.logits.slice(0, 4).flat()) <
      tolerance.logits,
  );
  const layers = Object.keys(
    JSON.parse(await readFile(join(dir, 'layers.json'), 'utf8')) as object,
  );
  assert.is(layers.length, 19);
  assert.is(layers[18], 'cls.predictions.transform.dense.weight');
});

test("the theory stages follow the verbalizer's logits, and forgetting is measured", async () => {
  const run = (
    stage: StageDescriptor,
    cell: Cell,
    inputs: Record<string, string>,
    request: JsonObject = {},
  ) => runStage(stage, cell, inputs, request, { model: asset });
  const json = async (dir: string): Promise<Record<string, number>> =>
    JSON.parse(await readFile(join(dir, 'metrics.json'), 'utf8')) as Record<string, number>;
  const forgotten: number[] = [];
  for (const adapter of [{ type: 'lora', rank: 3 }, { type: 'full' }]) {
    const train = { ...tinyCell().train, steps: 4, learning_rate: 0.01, checkpoints: [2] };
    const cell = cellOf(adapter, 4, {
      train,
      ntk: { ...tinyCell().ntk, at: ['init', 2, 'final'] },
    });
    const start = await trained(beforeTraining(cell)),
      model = await trained(cell);
    const points: Record<string, string> = {};
    for (const at of ['init', 2, 'final'] as const)
      points[pointName(at)] = (
        await run(kernel, cell, { model: at === 'init' ? start : model, rows: validation }, { at })
      ).dir;
    const kernels = await run(ntk, cell, points);
    assert.ok(
      'step-2.full.true.information_bits' in
        (await json((await run(fisher, cell, { ntk: kernels.dir })).dir)),
    );
    const regimes = await json(
      (await run(regime, cell, { start, model, ntk: kernels.dir, rows: validation })).dir,
    );
    assert.ok(
      present(regimes['linear.relative_error']) > 0 && present(regimes['step-2.linear.cosine']) > 0,
    );
    const of = await json((await run(delta, cell, { model: start, rows: validation })).dir);
    assert.is('residual' in of, adapter.type === 'lora');
    if (adapter.type === 'lora') assert.ok(present(of['residual']) < tolerance.rounding);
    const spectra = await json((await run(spectrum, cell, { start, model, rows: validation })).dir);
    assert.ok(
      Math.abs(
        present(spectra['forgetting']) -
          (present(spectra['masked_lm_loss']) - present(spectra['masked_lm_loss_start'])),
      ) < 1e-12 && spectra['forgetting'] !== 0,
    );
    forgotten.push(present(spectra['masked_lm_loss_start']));
    const still = await json(
      (await run(spectrum, beforeTraining(cell), { start, model: start, rows: validation })).dir,
    );
    assert.equal(
      [still['forgetting'], still['masked_lm_loss']],
      [0, spectra['masked_lm_loss_start']],
      'the same tokens are masked before and after',
    );
  }
  assert.ok(
    Math.abs(present(forgotten[0]) - present(forgotten[1])) < tolerance.loss,
    'and for every adapter',
  );
});

test('a model whose weights were drawn has nothing to forget', async () => {
  const cell = tinyCell({
    model: { source: asset.uri, architecture: 'bert', init: 'random' },
    adapter: { type: 'lora', rank: 2 },
    train: { ...tinyCell().train, steps: 0 },
  });
  const folder = (
    await runStage(
      train,
      cell,
      { data: await poisonedFolder(rows, undefined, mlmClasses) },
      {},
      { model: asset },
    )
  ).dir;
  const ran = await runStage(
    spectrum,
    cell,
    { start: folder, model: folder, rows: validation },
    {},
    { model: asset },
  );
  assert.not.match(await readFile(join(ran.dir, 'metrics.json'), 'utf8'), 'forgetting');
  assert.match(ran.log.join('\n'), 'no forgetting');
});

test('faults of a prompt are found before anything runs, each at its field', async () => {
  const check = async (
    change: object,
    given: { head?: Asset; model?: Asset } = {},
    more: { [section in keyof Cell]?: unknown } = {},
  ): Promise<string[]> => {
    const definition = train.define(
      [cellOf({ type: 'lora', rank: 3 }, 6, { head: { ...head, ...change }, ...more })],
      { with: {}, goals: [] },
    );
    return (
      await train.preflight!(contextOf(definition, { assets: { model: asset, ...given } }))
    ).map(({ path, message }) => `${path.join('.')}: ${message}`);
  };
  assert.equal(await check({}), []);
  assert.equal(await check({ verbalizer: { neg: 'bad', pos: 'great' } }), [
    'head.verbalizer.pos: the verbalizer\'s word "great" is 5 tokens (g ##r ##e ##a ##t); it must be one token',
  ]);
  assert.equal(await check({ verbalizer: undefined }), [
    'head.verbalizer: a cloze head needs a verbalizer: a word for each class',
  ]);
  assert.equal(await check({ template: '{text} {masks}' }), [
    'head.template: the template "{text} {masks}" has an unknown slot {masks}',
  ]);
  assert.match(
    present((await check({ template: `{text} ${'very '.repeat(13)}{mask}` }))[0]),
    /^head\.template: the template takes 16 tokens by itself, .* max_length is 16/,
  );
  assert.equal(await check({}, {}, { data: { ...tinyCell().data, classes: ['neg', 'pos'] } }), [
    'head.verbalizer: it names "neutral", which is not a class of the data',
  ]);
  assert.match(
    present((await check({}, { head: asset }))[0]),
    /^head\.init_from: a cloze head is part of the checkpoint/,
  );
  assert.match(
    present((await check({}, { model: modelAsset }))[0]),
    /^model\.source: .* has no tensor "cls\.predictions\.transform\.dense\.weight"/,
  );
});

test('a template for pairs on single texts stops the run with what to change', async () => {
  let message = '';
  try {
    await trained(cellOf({ type: 'full' }, 3, { head: { ...head, template: mlm.pair_template } }));
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(message, /has \{text_pair\}, but the rows are single texts/);
});

test("a classifier's template and verbalizer are nothing that it reads", () => {
  const params = (change: object): string =>
    JSON.stringify(
      train.define([tinyCell({ head: { ...tinyCell().head, ...change } })], { with: {}, goals: [] })
        .params,
    );
  assert.is(params({ template: '{text} {mask}', verbalizer: { a: 'b' } }), params({}));
  assert.is.not(params({ type: 'cloze', verbalizer: { a: 'b' } }), params({}));
});

test.run();
