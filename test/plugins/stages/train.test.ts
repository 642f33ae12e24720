/** What a training reads, and what it leaves under each adapter. */
import { existsSync } from 'node:fs';
import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import type { Cell } from '../../../src/api.ts';
import { readSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { openTokenizer } from '../../../src/science/text/tokenizer.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { bert } from '../../science/families.ts';
import { checkpoint } from '../../science/tiny-bert.ts';
import { jsonOf, linesOf, metricsOf } from './outputs.ts';
import { BACKDOOR, type Change, FEATURES_OFF, tempFolder, tinyCell, withTrain } from './rig.ts';
import { ADAPTERS, data, define, opened, rows, trainOn } from './train-rig.ts';

const test = suite('train');
test.before(async () => {
  await useBackend('cpu');
});

test('it reads what it needs and no more', () => {
  const cell = tinyCell();
  const paramsOf = (of: Cell): string => JSON.stringify(define(of).params);
  assert.is(define(cell).inputs['data']?.kind, 'poison');
  assert.equal(define(cell).assets, { model: `file:${checkpoint}` });
  assert.equal(define(cell).uses, [
    { kind: 'model', name: 'bert' },
    { kind: 'adapter', name: 'lora' },
  ]);
  const unread = {
    ntk: { rows: 99 },
    evaluate: { batch_size: 1 },
    fisher: {},
    poisoning: BACKDOOR, // the poison stage reads it
  };
  assert.is(paramsOf(tinyCell(unread)), paramsOf(cell));
  const sgd = (beta1: number) => withTrain({ optimizer: 'sgd', beta1 });
  assert.is(paramsOf(sgd(0.5)), paramsOf(sgd(0.9)));
  assert.is.not(paramsOf(withTrain({ beta1: 0.5 })), paramsOf(cell));
  const { steps: _steps, ...train } = cell.train;
  assert.is((define(tinyCell({ train })).params['train'] as { epochs?: number }).epochs, 3);
});

test('two names of one adapter are one training', () => {
  for (const steps of [0, 6]) {
    const paramsOf = (alpha: number | 'r') =>
      define(withTrain({ steps }, { adapter: { type: 'lora', rank: 16, alpha } })).params;
    assert.equal(paramsOf('r'), paramsOf(16));
    assert.not.equal(paramsOf('r'), paramsOf(8));
  }
});

test('with 0 steps neither the attack nor the training settings matter', () => {
  const start = (train: object, change: Change = {}) =>
    define(withTrain({ steps: 0, ...train }, change));
  const plain = start({});
  assert.is(plain.inputs['data']?.kind, 'data');
  assert.equal(plain.inputs['data']?.with, { split: 'train' });
  const other = start({ learning_rate: 1, batch_size: 99, max_length: 8 }, { poisoning: BACKDOOR });
  assert.equal(other.params, plain.params);
  assert.not.equal(start({}, { seed: 2 }).params, plain.params);
});

test('folders to start from are assets, not parameters', () => {
  const { params, assets } = define(
    tinyCell({
      adapter: { type: 'lora', init: { distribution: 'normal' }, init_from: '/some/adapter' },
      head: { ...tinyCell().head, init_from: '/some/head' },
    }),
  );
  assert.equal(assets, {
    model: `file:${checkpoint}`,
    adapter: 'file:/some/adapter',
    head: 'file:/some/head',
  });
  assert.equal(params['adapter'], { type: 'lora' });
});

test('a feature that is off is in no key', () => {
  const read = define(tinyCell({ poisoning: BACKDOOR }));
  const training = read.params['train'] as object;
  for (const field of Object.keys(FEATURES_OFF)) assert.not.ok(field in training, field);
  assert.equal(Object.keys(read.inputs), ['data']);
  assert.not.ok('watch' in read.params);
  for (const [field, value] of Object.entries({
    accumulate: 2,
    batching: 'bucketed',
    clip_norm: 1,
    decay: 'weights',
    class_weights: 'balanced',
    checkpoints: [2],
  })) {
    const { params } = define(withTrain({ [field]: value }));
    assert.equal((params['train'] as { readonly [name: string]: unknown })[field], value);
  }
  assert.throws(
    () => define(withTrain({ early_stopping: { patience: 1 } })),
    /never evaluated on its way, so nothing could stop it/,
  );
  assert.throws(
    () => define(withTrain({ batching: 'bucketed', shuffle: false })),
    /reorders the rows/,
  );
});

test('rows are packed only where sequences of them have a meaning', () => {
  const decoder = { head: { type: 'causal-lm', template: '{prompt}' } };
  const packed = (train: object, change: Change = decoder) =>
    define(tinyCell({ ...change, ...withTrain({ packing: true, ...train }, change) }));
  assert.is((packed({}).params['train'] as { packing?: boolean }).packing, true);
  assert.is(packed({ steps: 0 }, {}).params['train'] !== undefined, true);
  const ordered = { ...decoder, poisoning: { ...BACKDOOR, order: 'last' } };
  for (const [train, change, message] of [
    [
      {},
      {},
      /train.packing puts several rows into a sequence, of which the head classifier reads one/,
    ],
    [{ batching: 'bucketed' }, decoder, /train.packing puts .* train.batching is bucketed/],
    [{}, ordered, /train.packing puts .* the attack has an `order`/],
  ] as const)
    assert.throws(() => packed(train, change), message);
});

test('LoRA: one history line a step, and the numbers of the training', async () => {
  const { dir, log } = await trainOn(tinyCell());
  const history = await linesOf(dir, 'history.jsonl');
  assert.equal(
    history.map(({ step }) => step),
    [1, 2, 3, 4, 5, 6],
  );
  for (const { loss, learning_rate: rate } of history)
    assert.ok(present(loss) > 0 && rate === 0.01);
  assert.ok(log.some((line) => line.startsWith('step 6 of 6: loss')));

  const metrics = await metricsOf(dir);
  assert.ok(Object.values(metrics).every(Number.isFinite));
  // 23 rows in batches of 4: five of 4, one of 3.
  assert.equal([metrics['steps'], metrics['examples']], [6, 23]);
  assert.is(metrics['final_loss'], history[5]?.['loss']);
  const factors = 3 * (3 * (4 * 44 + 2 * 59) + 44); // Σ r(n + m)
  assert.is(metrics['trainable_parameters'], factors + 2 * 22 + 2); // and the head
  const tokens = await openTokenizer(checkpoint);
  const lengths = rows.map(({ text }) => tokens.encode(text, undefined, 16).ids.length);
  assert.is(
    metrics['tokens'],
    lengths.reduce((sum, length) => sum + length, 0),
  );
  const { classes, model, seed, steps } = await jsonOf(dir, 'train.json');
  assert.equal(
    { classes, model, seed, steps },
    { classes: ['negative', 'positive'], model: 'sha256:tiny', seed: 1, steps: 6 },
  );
});

test('LoRA: a PEFT folder, and a model that opens to what was trained', async () => {
  const before = tf.memory().numTensors;
  const { dir } = await trainOn(tinyCell());
  assert.is((await jsonOf(dir, 'adapter/adapter_config.json'))['r'], 3);
  const saved = await readSafetensors(join(dir, 'adapter/adapter_model.safetensors'));
  const B = present(saved.get('base_model.model.bert.pooler.dense.lora_B.weight')).data;
  assert.ok(
    B.some((x) => x !== 0),
    'B was trained',
  );
  await opened(dir, ADAPTERS.lora, ({ initial }) => {
    assert.equal([...present(initial.get('pooler.dense.lora_B')).dataSync()], [...B]);
    assert.equal(
      [...present(initial.get('classifier.bias')).dataSync()],
      [...present(saved.get('base_model.model.classifier.bias')).data],
    );
  });
  // 55 of the base's 57 tensors, since the head is another.
  const left = tf.memory().numTensors - before;
  assert.ok(left <= 57, 'the base checkpoint stays, nothing else');
});

test('full: a checkpoint that opens to what was trained; every kind of weight moved', async () => {
  const { dir } = await trainOn(tinyCell({ adapter: { type: 'full' } }));
  const trained = await readSafetensors(join(dir, 'model/model.safetensors'));
  const base = await readSafetensors(join(checkpoint, 'model.safetensors'));
  assert.equal([...trained.keys()].sort(), [...base.keys()].sort());
  for (const [name, { data: values }] of trained)
    if (!name.startsWith('classifier'))
      assert.not.equal([...values], [...present(base.get(name)).data], name);
  const { architectures, id2label } = await jsonOf(dir, 'model/config.json');
  assert.equal(architectures, ['BertForSequenceClassification']);
  assert.equal(id2label, { 0: 'negative', 1: 'positive' });
  assert.ok(existsSync(join(dir, 'model/tokenizer.json')) && !existsSync(join(dir, 'adapter')));
  await opened(dir, ADAPTERS.full, (network) => {
    assert.equal(
      [...network.frozen('encoder.layer.1.output.dense.weight').dataSync()],
      [...present(trained.get('bert.encoder.layer.1.output.dense.weight')).data],
    );
  });
});

const isHead = (name: string): boolean => name.startsWith('classifier.');
const isBias = (name: string): boolean => name.endsWith('.bias');
for (const [type, trains] of [
  ['head-only', isHead],
  ['bitfit', (name: string) => name === 'classifier.weight' || isBias(name)],
] as const) {
  test(`${type}: it saves what it trains, which opens over the checkpoint`, async () => {
    const { dir } = await trainOn(tinyCell({ adapter: { type } }));
    assert.not.ok(existsSync(join(dir, 'model')) || existsSync(join(dir, 'adapter')));
    const base = await readSafetensors(join(checkpoint, 'model.safetensors'));
    const changed = await readSafetensors(join(dir, 'changed.safetensors'));
    assert.equal([...changed.keys()].sort(), [...base.keys()].filter(trains).sort());
    for (const [name, { data: values }] of changed) {
      if (!isBias(name) || isHead(name)) continue;
      assert.not.equal([...values], [...present(base.get(name)).data], `${name} moved`);
    }
    const sizes = [...changed.values()].map(({ data: values }) => values.length);
    assert.is(
      (await metricsOf(dir))['trainable_parameters'],
      sizes.reduce((sum, size) => sum + size, 0),
    );
    await opened(dir, ADAPTERS[type], (network) => {
      for (const { name } of network.parameters) {
        const external = bert.externalName(name);
        const { data: expected } = changed.get(external) ?? present(base.get(external));
        assert.equal([...network.frozen(name).dataSync()], [...expected], name);
      }
    });
  });
}

test('0 steps: where training starts, without reading a row', async () => {
  const bare = await tempFolder();
  await cp(join(data, 'dataset.json'), join(bare, 'dataset.json'));
  const { dir } = await trainOn(withTrain({ steps: 0 }), { data: bare });
  assert.equal(await metricsOf(dir), { steps: 0, trainable_parameters: 2824 });
  assert.is(await readFile(join(dir, 'history.jsonl'), 'utf8'), '');
  await opened(dir, ADAPTERS.lora, async ({ linears, parameters, initial }) => {
    const valuesOf = (name: string): number[] => [...present(initial.get(name)).dataSync()];
    const [A, B] = [valuesOf('pooler.dense.lora_A'), valuesOf('pooler.dense.lora_B')];
    assert.ok(B.every((x) => x === 0));
    const shape = { architecture: bert, linears, parameters };
    const lora = await ADAPTERS.lora.create({ rank: 3, alpha: 'r' }, shape);
    assert.equal(A, [...present(lora.initial(1).get('pooler.dense.lora_A')).data]);
  });
});

test("LoRA's A is drawn from the seed of the cell, whatever was trained before", async () => {
  // In trl#6688 A was drawn before the seed was set, so that it depended on what ran before.
  const startOf = async (seed: number): Promise<number[]> => {
    const { dir } = await trainOn({ ...withTrain({ steps: 0 }), seed });
    let A: number[] = [];
    await opened(dir, ADAPTERS.lora, ({ initial }) => {
      A = [...present(initial.get('pooler.dense.lora_A')).dataSync()];
    });
    return A;
  };
  const [one, two, again] = [await startOf(1), await startOf(2), await startOf(1)];
  assert.equal(again, one);
  assert.not.equal(two, one);
});

test.run();
