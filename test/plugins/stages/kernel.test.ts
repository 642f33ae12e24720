import { readdir, readFile, rm } from 'node:fs/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import delta from '../../../plugins/stages/delta/index.ts';
import kernel from '../../../plugins/stages/kernel/index.ts';
import regime from '../../../plugins/stages/regime/index.ts';
import theoryMap from '../../../plugins/stages/theory-map/index.ts';
import train from '../../../plugins/stages/train/index.ts';
import type { Cell, StageDescriptor } from '../../../src/api.ts';
import type { Premise } from '../../../src/science/measures/ntk/delta.ts';
import { readNpy } from '../../../src/science/models/io/npy.ts';
import { openTokenizer } from '../../../src/science/text/tokenizer.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { checkpoint } from '../../science/tiny-bert.ts';
import { type Chain, file, openChain, rows } from './kernel-chain.ts';
import { classes, poisonedFolder, tinyCell } from './rig.ts';

const test = suite('kernel stage');
let chain: Chain;
test.before(async () => {
  await useBackend('cpu');
  chain = await openChain();
});

const define = (cell: Cell, at: 'init' | 'final') =>
  kernel.define([cell], { with: { at }, goals: [] });

test("it is of the split's clean rows at a checkpoint, and reads nothing else", () => {
  const cell = tinyCell({ poisoning: { attack: 'badnets', rate: 0.1 } });
  const { params, inputs, assets, uses } = define(cell, 'final');
  assert.equal(params, {
    architecture: 'bert',
    adapter: 'lora',
    rows: 4,
    max_length: 16,
    kernels: ['lora', 'full'],
    method: 'auto',
    per_layer: false,
    memory_mb: 1024,
  });
  assert.equal([present(inputs['model']).kind, present(inputs['model']).cell], ['train', cell]);
  assert.equal(
    [present(inputs['rows']).kind, present(inputs['rows']).with],
    ['data', { split: 'validation' }],
  );
  assert.equal(assets, { model: `file:${checkpoint}` });
  assert.equal(uses, [
    { kind: 'model', name: 'bert' },
    { kind: 'adapter', name: 'lora' },
  ]);
});

test('at init it is shared by every attack, learning rate and number of steps', () => {
  const start = (change: { [section in keyof Cell]?: unknown }) => {
    const { params, inputs } = define(tinyCell(change), 'init');
    const request = present(inputs['model']);
    const { params: trainParams, inputs: trainInputs } = train.define([request.cell], {
      with: {},
      goals: [],
    });
    return JSON.stringify([
      params,
      trainParams,
      Object.values(trainInputs).map(({ kind, with: narrowed }) => [kind, narrowed]),
    ]);
  };
  const plain = start({});
  assert.is(start({ poisoning: { attack: 'label-flip', rate: 0.3 } }), plain);
  assert.is(
    start({ train: { ...tinyCell().train, steps: 99, learning_rate: 0.5, optimizer: 'sgd' } }),
    plain,
  );
  assert.is(start({ evaluate: { batch_size: 1 }, fisher: {} }), plain);
  assert.is.not(start({ seed: 2 }), plain);
  assert.is.not(start({ adapter: { type: 'lora', rank: 5 } }), plain);
  assert.is.not(start({ ntk: { ...tinyCell().ntk, rows: 5 } }), plain);
});

test('the times of other rows, lengths and models say nothing of its own', () => {
  const plain = tinyCell();
  for (const stage of [kernel, delta, regime, theoryMap] as StageDescriptor[]) {
    const unitOf = (change: { [section in keyof Cell]?: unknown }): string =>
      present(stage.define([tinyCell(change)], { with: { at: 'init' }, goals: [] }).work).of;
    const units = [
      unitOf({}),
      unitOf({ ntk: { ...plain.ntk, rows: 5 } }),
      unitOf({ train: { ...plain.train, max_length: 8 } }),
      unitOf({ model: { ...plain.model, source: 'file:other' } }),
    ];
    assert.is(new Set(units).size, units.length, stage.name);
    assert.is(unitOf({ seed: 2 }), units[0]);
  }
});

test("LoRA: both kernels, logits, traces by the checkpoint's names, and the rows", async () => {
  const ran = await chain.kernel(tinyCell(), 'final');
  assert.equal((await readdir(ran.dir)).sort(), [
    'kernel-full.npy',
    'kernel-lora.npy',
    'layers.json',
    'logits.npy',
    'methods.json',
    'premise.json',
    'rows.json',
  ]);
  const full = await readNpy(file(ran, 'kernel-full.npy')),
    lora = await readNpy(file(ran, 'kernel-lora.npy')),
    logits = await readNpy(file(ran, 'logits.npy'));
  assert.equal(
    [full.shape, lora.shape, logits.shape],
    [
      [4, 2, 4, 2],
      [4, 2, 4, 2],
      [4, 2],
    ],
  );

  const layers = JSON.parse(await readFile(file(ran, 'layers.json'), 'utf8')) as Record<
    string,
    { full: number; lora: number }
  >;
  assert.is(Object.keys(layers).length, 19);
  assert.is(Object.keys(layers)[0], 'bert.encoder.layer.0.attention.self.query.weight');
  assert.is(Object.keys(layers)[18], 'bert.pooler.dense.weight');
  const trace = (data: ArrayLike<number>): number =>
    Array.from({ length: 8 }, (_, i) => present(data[i * 9])).reduce((a, b) => a + b);
  const sum = (kind: 'full' | 'lora'): number =>
    Object.values(layers).reduce((total, layer) => total + layer[kind], 0);
  assert.ok(
    Math.abs(sum('full') / trace(full.data) - 1) < 1e-12 &&
      Math.abs(sum('lora') / trace(lora.data) - 1) < 1e-12,
  );

  const premises = JSON.parse(await readFile(file(ran, 'premise.json'), 'utf8')) as Premise[];
  assert.equal(
    premises.map(({ layer }) => layer),
    Object.keys(layers),
  );
  assert.ok(
    premises.every(({ rank, scale, zero_b: zero }) => rank === 3 && scale === 1 && !zero),
    'trained',
  );

  const tokenizer = await openTokenizer(checkpoint);
  assert.equal(
    JSON.parse(await readFile(file(ran, 'rows.json'), 'utf8')),
    rows.slice(0, 4).map(({ id, label, text }) => ({
      id,
      label,
      tokens: tokenizer.encode(text, undefined, 16).ids.length,
    })),
  );
  assert.match(ran.log.join('\n'), /4 rows, 2 classes, 19 layers in/);
});

test("a kernel at a kept step is of that step's model, and only its key names a step", async () => {
  const kept = tinyCell({ train: { ...tinyCell().train, checkpoints: [2, 6] } });
  assert.equal(kernel.define([kept], { with: { at: 2 }, goals: [] }).params, {
    ...define(kept, 'final').params,
    step: 2,
  });
  const [at2, at6, final, init] = [
    await chain.kernel(kept, 2),
    await chain.kernel(kept, 6),
    await chain.kernel(kept, 'final'),
    await chain.kernel(kept, 'init'),
  ];
  const bytes = (ran: typeof at2): Promise<Buffer> => readFile(file(ran, 'kernel-lora.npy'));
  assert.equal(await bytes(at6), await bytes(final), 'the last step is the end');
  assert.is.not(Buffer.compare(await bytes(at2), await bytes(final)), 0);
  assert.is.not(Buffer.compare(await bytes(at2), await bytes(init)), 0);
});

test('more rows than the split has are warned of before anything runs', async () => {
  const problems = async (ntk: object) =>
    kernel.preflight!({
      params: kernel.define([tinyCell({ ntk })], { with: { at: 'init' }, goals: [] }).params,
      assets: {},
      backend: 'cpu',
      plugin: () => {
        throw new Error('none');
      },
      upstream: { rows: { params: {}, assets: {}, dir: chain.data } },
    });
  const { ntk } = tinyCell();
  assert.equal(await problems({ ...ntk, rows: rows.length }), []);
  assert.equal(await problems({ ...ntk, rows: rows.length + 1 }), [
    {
      path: ['ntk', 'rows'],
      message:
        `the kernel has ${rows.length} rows: ` +
        `ntk.rows is ${rows.length + 1}, its split has fewer`,
      warning: true,
    },
  ]);
});

test('rows that lack a class of their split are warned of, before the stage runs if they are known', async () => {
  const warning = {
    path: ['ntk', 'rows'],
    message:
      'none of the first 1 of 23 rows, which kernels are computed over, is of class "positive"',
    hint:
      "Write balance: true in the split's section, which takes rows of the classes in turn, or " +
      'raise ntk.rows.',
  };
  for (const stage of [kernel, delta, regime, theoryMap]) {
    const problems = (asked: number) =>
      stage.preflight!({
        params: { rows: asked, kernels: [] },
        assets: {},
        backend: 'cpu',
        plugin: () => {
          throw new Error('none');
        },
        upstream: { rows: { params: {}, assets: {}, dir: chain.data } },
      });
    assert.equal(await problems(1), [{ ...warning, warning: true }], stage.name);
    assert.equal(await problems(2), [], stage.name);
  }
  const ran = await chain.kernel(tinyCell({ ntk: { ...tinyCell().ntk, rows: 1 } }), 'init');
  assert.match(ran.warned.join('\n'), warning.message);
  const ofOne = await poisonedFolder(rows.filter(({ label }) => label === 0));
  const one = await chain.run(
    kernel,
    tinyCell(),
    { model: (await chain.train(tinyCell())).dir, rows: ofOne },
    { at: 'final' },
  );
  assert.equal(one.warned, [], 'a class that the split lacks too is told with the split');
});

test('a step that the training will not keep is found before anything runs', async () => {
  const problems = async (at: number, train: object) =>
    kernel.preflight!({
      params: kernel.define([tinyCell({ train })], { with: { at }, goals: [] }).params,
      assets: {},
      backend: 'cpu',
      plugin: () => {
        throw new Error('none');
      },
      upstream: { model: { params: { train: train as never }, assets: {}, dir: null } },
    });
  const train = tinyCell().train;
  assert.equal(await problems(2, { ...train, checkpoints: [2, 6] }), []);
  assert.equal(await problems(2, { ...train, checkpoints: 3 }), [], 'thirds of six steps');
  assert.equal(
    await problems(5, { batch_size: 4, epochs: 2, checkpoints: 3 }),
    [],
    'only the rows tell',
  );
  assert.equal(await problems(3, { ...train, checkpoints: 3 }), [
    {
      path: ['ntk', 'at'],
      message: 'step 3 is not kept: train.checkpoints keeps 2, 4, 6',
      hint: 'Write the step into train.checkpoints, or leave it out of ntk.at.',
    },
  ]);
  assert.match(present((await problems(3, train))[0]).message, /train\.checkpoints is 0/);
  assert.match(
    present((await problems(3, { ...train, checkpoints: [6, 2] }))[0]).message,
    /keeps 2, 6/,
  );
});

test('a second kernel in the same process leaves no more tensors than the first', async () => {
  await chain.kernel(tinyCell(), 'init');
  const before = tf.memory().numTensors; // the base model stays loaded
  await chain.kernel(tinyCell(), 'init');
  assert.is(tf.memory().numTensors, before);
});

test('full fine-tuning has the full kernel alone', async () => {
  const ran = await chain.kernel(tinyCell({ adapter: { type: 'full' } }), 'final');
  assert.equal((await readdir(ran.dir)).sort(), [
    'kernel-full.npy',
    'layers.json',
    'logits.npy',
    'methods.json',
    'rows.json',
  ]);
  const layers = JSON.parse(await readFile(file(ran, 'layers.json'), 'utf8')) as Record<
    string,
    object
  >;
  assert.equal(Object.keys(present(layers['bert.pooler.dense.weight'])), ['full']);
});

test('a split with fewer rows gives what it has, and says so', async () => {
  const ran = await chain.kernel(tinyCell({ ntk: { ...tinyCell().ntk, rows: 40 } }), 'init');
  assert.equal((await readNpy(file(ran, 'logits.npy'))).shape, [23, 2]);
  assert.match(
    ran.warned.join('\n'),
    /the kernel has 23 rows: ntk\.rows is 40, its split has fewer/,
  );
});

test("other classes than the training rows', and an empty split, are faults", async () => {
  const trained = await chain.train(tinyCell());
  const faultOf = async (data: string): Promise<string> => {
    try {
      await chain.run(kernel, tinyCell(), { model: trained.dir, rows: data }, { at: 'final' });
    } catch (error) {
      assert.is((error as Error).name, 'UserFault');
      return (error as Error).message;
    } finally {
      await rm(data, { recursive: true });
    }
    throw new Error('no fault');
  };
  assert.match(
    await faultOf(await poisonedFolder(rows, undefined, [...classes].reverse())),
    /classes positive, negative, the training rows negative, positive/,
  );
  assert.match(await faultOf(await poisonedFolder([])), /has no row/);
});

test('one kernel alone, layer by layer, and by projection with its cost and error', async () => {
  const plain = await chain.kernel(tinyCell(), 'init');
  const alone = await chain.kernel(
    tinyCell({ ntk: { ...tinyCell().ntk, kernels: ['lora'], per_layer: true } }),
    'init',
  );
  assert.equal(
    (await readdir(alone.dir)).filter((name) => name.startsWith('kernel')),
    ['kernel-lora-layers.npy', 'kernel-lora.npy'],
  );
  const blocks = await readNpy(file(alone, 'kernel-lora-layers.npy')),
    sum = await readNpy(file(alone, 'kernel-lora.npy'));
  const [layers = 0, ...shape] = blocks.shape;
  assert.equal(shape, sum.shape);
  assert.equal(
    Object.keys(JSON.parse(await readFile(file(alone, 'layers.json'), 'utf8')) as object).length,
    layers,
  );
  sum.data.forEach((value, at) => {
    let total = 0;
    for (let layer = 0; layer < layers; layer++)
      total += present(blocks.data[layer * sum.data.length + at]);
    assert.ok(Math.abs(total - value) <= 1e-9 * Math.abs(value) + 1e-15);
  });
  assert.equal(
    await readFile(file(alone, 'kernel-lora.npy')),
    await readFile(file(plain, 'kernel-lora.npy')),
  );

  const projected = await chain.kernel(
    tinyCell({
      ntk: { ...tinyCell().ntk, method: 'projected', projection: { dimension: 3, replicates: 2 } },
    }),
    'init',
  );
  const methods = JSON.parse(await readFile(file(projected, 'methods.json'), 'utf8')) as {
    kernels: Record<string, { error: number | null; operations: number }>;
    projection: object;
  };
  assert.equal(methods.projection, { dimension: 3, replicates: 2, seed: tinyCell().seed });
  assert.ok(
    present(methods.kernels['full']!.error) > 0 && present(methods.kernels['full']).operations > 0,
  );
  assert.match(projected.log.join('\n'), /K_ff is an estimate: gradients projected to 3 × 3/);
  assert.is(
    present(
      (JSON.parse(await readFile(file(plain, 'methods.json'), 'utf8')) as typeof methods).kernels[
        'full'
      ],
    ).error,
    null,
  );
});

test.run();
