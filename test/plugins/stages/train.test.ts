import { existsSync } from 'node:fs';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import loraPlugin from '../../../plugins/adapters/lora.ts';
import train from '../../../plugins/stages/train.ts';
import type { Asset, Cell, Digest } from '../../../src/api.ts';
import { writeDataset } from '../../../src/data/rows-file.ts';
import { readSafetensors } from '../../../src/science/io/safetensors.ts';
import { openTrained } from '../../../src/science/nn/adapted-model.ts';
import { bert } from '../../../src/science/nn/bert.ts';
import { bitfit } from '../../../src/science/nn/bitfit.ts';
import { full } from '../../../src/science/nn/full.ts';
import { headOnly } from '../../../src/science/nn/head-only.ts';
import { lora } from '../../../src/science/nn/lora.ts';
import { openTokenizer } from '../../../src/science/text/tokenizer.ts';
import { batches } from '../../../src/science/train/batches.ts';
import { useBackend } from '../../science/backend.ts';
import { adapterFolder, checkpoint, farthest } from '../../science/tiny-bert.ts';
import { mlmCheckpoint } from '../../science/tiny-mlm.ts';
import { tolerance } from '../../tolerances.ts';
import {
  classes,
  cleanUp,
  contextOf,
  lookUp,
  modelAsset,
  poisonedFolder,
  runStage,
  spokenRows,
  tempFolder,
  tinyCell,
} from './rig.ts';

await useBackend('cpu');
const rows = spokenRows(23);
const data = await poisonedFolder(rows);
test.after(cleanUp);

const define = (cell: Cell) => train.define([cell], { with: {}, goals: [] });
const json = async (dir: string, name: string): Promise<Record<string, unknown>> =>
  JSON.parse(await readFile(join(dir, name), 'utf8')) as Record<string, unknown>;
const faultOf = async (promise: Promise<unknown>): Promise<string> => {
  try {
    await promise;
  } catch (error) {
    if ((error as Error).name !== 'UserFault') throw error;
    return (error as Error).message;
  }
  throw new Error('no fault');
};
const backdoor = {
  attack: 'badnets',
  rate: 0.1,
  target: 'positive',
  mode: 'dirty',
  triggers: ['cf'],
};
const withTrain = (change: object, more: { [section in keyof Cell]?: unknown } = {}): Cell =>
  tinyCell({ ...more, train: { ...tinyCell().train, ...change } });

test('it reads what it needs and no more', () => {
  const cell = tinyCell();
  const same = (a: Cell, b: Cell): void =>
    assert.equal(JSON.stringify(define(a).params), JSON.stringify(define(b).params));
  assert.is(define(cell).inputs['data']!.kind, 'poison');
  assert.equal(define(cell).assets, { model: `file:${checkpoint}` });
  assert.equal(define(cell).uses, [
    { kind: 'model', name: 'bert' },
    { kind: 'adapter', name: 'lora' },
  ]);
  same(
    cell,
    tinyCell({
      ntk: { rows: 99 },
      evaluate: { batch_size: 1 },
      fisher: {},
      poisoning: { attack: 'badnets' },
    }),
  ); // poisoning is the poison stage's
  same(withTrain({ optimizer: 'sgd', beta1: 0.5 }), withTrain({ optimizer: 'sgd', beta1: 0.9 }));
  assert.not.equal(define(withTrain({ beta1: 0.5 })).params, define(cell).params);
  const { steps: _steps, ...epochs } = cell.train;
  assert.equal(
    (define(tinyCell({ train: epochs })).params['train'] as Record<string, unknown>)['epochs'],
    3,
  );
});

test('two names of one adapter are one training', () => {
  const params = (adapter: object, steps = 6): unknown =>
    train.define([withTrain({ steps }, { adapter: { type: 'lora', rank: 16, ...adapter } })], {
      with: {},
      goals: [],
      plugin: lookUp,
    }).params;
  for (const steps of [0, 6])
    assert.equal(params({ alpha: 'r' }, steps), params({ alpha: 16 }, steps));
  assert.not.equal(params({ alpha: 'r' }), params({ alpha: 8 }));
});

test('with 0 steps neither the attack nor the training settings matter', () => {
  const start = (change: object, more: { [section in keyof Cell]?: unknown } = {}) =>
    define(withTrain({ steps: 0, ...change }, more));
  const plain = start({});
  assert.equal(plain.inputs['data']!.kind, 'data');
  assert.equal(plain.inputs['data']!.with, { split: 'train' });
  assert.equal(
    start(
      { learning_rate: 1, batch_size: 99, max_length: 8 },
      { poisoning: { attack: 'badnets', rate: 0.1 } },
    ).params,
    plain.params,
  );
  assert.not.equal(start({}, { seed: 2 }).params, plain.params);
});

test('folders to start from are assets, not parameters', () => {
  const definition = define(
    tinyCell({
      adapter: { type: 'lora', init: { distribution: 'normal' }, init_from: '/some/adapter' },
      head: { ...tinyCell().head, init_from: '/some/head' },
    }),
  );
  assert.equal(definition.assets, {
    model: `file:${checkpoint}`,
    adapter: 'file:/some/adapter',
    head: 'file:/some/head',
  });
  assert.equal(definition.params['adapter'], { type: 'lora' });
});

test('LoRA: a PEFT folder, one history line a step, and a model that opens to what was trained', async () => {
  const before = tf.memory().numTensors;
  const { dir, log } = await runStage(train, tinyCell(), { data });
  const history = (await readFile(join(dir, 'history.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>);
  assert.equal(
    history.map(({ step }) => step),
    [1, 2, 3, 4, 5, 6],
  );
  assert.ok(history.every(({ loss, learning_rate: rate }) => loss! > 0 && rate === 0.01));
  const metrics = await json(dir, 'metrics.json');
  assert.ok(
    Object.values(metrics).every((value) => typeof value === 'number' && Number.isFinite(value)),
  );
  // 23 rows in batches of 4: five of 4, one of 3
  assert.equal(
    [metrics['steps'], metrics['examples'], metrics['final_loss']],
    [6, 23, history[5]!['loss']],
  );
  assert.is(metrics['trainable_parameters'], 3 * (3 * (4 * 44 + 2 * 59) + 44) + 2 * 22 + 2); // Σ r(n + m) + the head
  const tokens = await openTokenizer(checkpoint);
  assert.is(
    metrics['tokens'],
    rows.reduce((sum, { text }) => sum + tokens.encode(text, undefined, 16).ids.length, 0),
  );
  assert.equal((await json(dir, 'adapter/adapter_config.json'))['r'], 3);
  const record = await json(dir, 'train.json');
  assert.equal(
    [record['classes'], record['model'], record['seed'], record['steps']],
    [['negative', 'positive'], 'sha256:tiny', 1, 6],
  );
  assert.ok(log.some((line) => line.startsWith('step 6 of 6: loss')));
  const { network } = await openTrained({
    trainDir: dir,
    model: modelAsset,
    architecture: bert,
    adapter: lora,
  });
  const saved = await readSafetensors(join(dir, 'adapter/adapter_model.safetensors'));
  assert.equal(
    [...network.initial.get('pooler.dense.lora_B')!.dataSync()],
    [...saved.get('base_model.model.bert.pooler.dense.lora_B.weight')!.data],
  );
  assert.equal(
    [...network.initial.get('classifier.bias')!.dataSync()],
    [...saved.get('base_model.model.classifier.bias')!.data],
  );
  assert.ok(
    saved.get('base_model.model.bert.pooler.dense.lora_B.weight')!.data.some((x) => x !== 0),
    'B was trained',
  );
  network.dispose();
  assert.ok(tf.memory().numTensors - before <= 57, 'the base checkpoint stays, nothing else'); // 55 of its 57 tensors: the head is another
});

test('full: a checkpoint that opens to what was trained, and every kind of weight has moved', async () => {
  const { dir } = await runStage(train, tinyCell({ adapter: { type: 'full' } }), { data });
  const trained = await readSafetensors(join(dir, 'model/model.safetensors')),
    base = await readSafetensors(join(checkpoint, 'model.safetensors'));
  assert.equal([...trained.keys()].sort(), [...base.keys()].sort());
  for (const name of trained.keys())
    if (!name.startsWith('classifier'))
      assert.not.equal([...trained.get(name)!.data], [...base.get(name)!.data], name);
  const config = await json(dir, 'model/config.json');
  assert.equal(
    [config['architectures'], config['id2label']],
    [['BertForSequenceClassification'], { 0: 'negative', 1: 'positive' }],
  );
  assert.ok(existsSync(join(dir, 'model/tokenizer.json')) && !existsSync(join(dir, 'adapter')));
  const { network } = await openTrained({
    trainDir: dir,
    model: modelAsset,
    architecture: bert,
    adapter: full,
  });
  assert.equal(
    [...network.frozen('encoder.layer.1.output.dense.weight').dataSync()],
    [...trained.get('bert.encoder.layer.1.output.dense.weight')!.data],
  );
  network.dispose();
});

for (const [type, adapter, mine] of [
  ['head-only', headOnly, (name: string) => name.startsWith('classifier.')],
  ['bitfit', bitfit, (name: string) => name === 'classifier.weight' || name.endsWith('.bias')],
] as const) {
  test(`${type}: what it trains is saved by transformers' names, has moved, and opens over the checkpoint`, async () => {
    const { dir } = await runStage(train, tinyCell({ adapter: { type } }), { data });
    assert.not.ok(existsSync(join(dir, 'model')) || existsSync(join(dir, 'adapter')));
    const base = await readSafetensors(join(checkpoint, 'model.safetensors')),
      changed = await readSafetensors(join(dir, 'changed.safetensors'));
    assert.equal([...changed.keys()].sort(), [...base.keys()].filter(mine).sort());
    for (const [name, { data: values }] of changed)
      assert.ok(
        !name.endsWith('.bias') ||
          name.startsWith('classifier') ||
          values.some((x, i) => x !== base.get(name)!.data[i]),
        name,
      );
    assert.is(
      (await json(dir, 'metrics.json'))['trainable_parameters'],
      [...changed.values()].reduce((sum, { data: values }) => sum + values.length, 0),
    );
    const { network } = await openTrained({
      trainDir: dir,
      model: modelAsset,
      architecture: bert,
      adapter,
    });
    for (const { name } of network.parameters) {
      const external = bert.externalName(name);
      assert.equal(
        [...network.frozen(name).dataSync()],
        [...(changed.get(external) ?? base.get(external)!).data],
        name,
      );
    }
    network.dispose();
  });
}

test('0 steps: where training starts, without reading a row', async () => {
  const bare = await tempFolder();
  await cp(join(data, 'dataset.json'), join(bare, 'dataset.json'));
  const { dir } = await runStage(train, withTrain({ steps: 0 }), { data: bare });
  assert.equal(await json(dir, 'metrics.json'), { steps: 0, trainable_parameters: 2824 });
  assert.is(await readFile(join(dir, 'history.jsonl'), 'utf8'), '');
  const { network } = await openTrained({
    trainDir: dir,
    model: modelAsset,
    architecture: bert,
    adapter: lora,
  });
  const expected = await loraPlugin
    .load()
    .then((impl) =>
      impl.create(
        { rank: 3, alpha: 'r' },
        { architecture: bert, linears: network.linears, parameters: network.parameters },
      ),
    );
  assert.equal(
    [...network.initial.get('pooler.dense.lora_A')!.dataSync()],
    [...expected.initial(1).get('pooler.dense.lora_A')!.data],
  );
  assert.ok(
    network.initial
      .get('pooler.dense.lora_B')!
      .dataSync()
      .every((x) => x === 0),
  );
  network.dispose();
});

test('a feature that is off is in no key', () => {
  const off = {
    accumulate: 1,
    batching: 'shuffled',
    clip_norm: 0,
    decay: 'all',
    class_weights: 'none',
    checkpoints: 0,
    evaluate_every: 0,
    tensorboard: false,
    early_stopping: { patience: 0, metric: 'loss', min_delta: 0, keep: 'best' },
  };
  const reads = ({ inputs, ...rest }: ReturnType<typeof define>): object => ({
    ...rest,
    inputs: Object.keys(inputs),
  });
  assert.equal(
    reads(define(withTrain(off, { poisoning: backdoor }))),
    reads(define(tinyCell({ poisoning: backdoor }))),
  );
  for (const [field, value] of Object.entries({
    accumulate: 2,
    batching: 'bucketed',
    clip_norm: 1,
    decay: 'weights',
    class_weights: 'balanced',
    checkpoints: [2],
  })) {
    assert.equal(
      (define(withTrain({ ...off, [field]: value })).params['train'] as Record<string, unknown>)[
        field
      ],
      value,
    );
  }
  assert.throws(
    () => define(withTrain({ ...off, early_stopping: { patience: 1 } })),
    /there is no look that could stop the training/,
  );
  assert.throws(
    () => define(withTrain({ batching: 'bucketed', shuffle: false })),
    /reorders the rows/,
  );
});

test('checkpoints are kept, and open to the model at that step', async () => {
  for (const type of ['lora', 'full'] as const) {
    const adapter = type === 'lora' ? tinyCell().adapter : { type };
    const { dir } = await runStage(train, withTrain({ checkpoints: [2, 6] }, { adapter }), {
      data,
    });
    assert.equal((await readdir(join(dir, 'checkpoints'))).sort(), ['step-2', 'step-6']);
    const short = (await runStage(train, withTrain({ steps: 2 }, { adapter }), { data })).dir;
    const logits = async (of: string, at?: number): Promise<number[]> => {
      const { network } = await openTrained({
        trainDir: of,
        model: modelAsset,
        architecture: bert,
        adapter: type === 'lora' ? lora : full,
        ...(at === undefined ? {} : { at }),
      });
      const out = tf.tidy(() => [
        ...network
          .forward([{ ids: Int32Array.from([2, 40, 41, 3]), typeIds: new Int32Array(4) }])
          .dataSync(),
      ]);
      network.dispose();
      return out;
    };
    assert.equal(await logits(dir, 2), await logits(short));
    assert.equal(await logits(dir, 6), await logits(dir));
    assert.not.equal(await logits(dir, 2), await logits(dir));
    assert.match(await faultOf(logits(dir, 3)), /has kept no step 3/);
    assert.match(
      await faultOf(logits(dir, 7)),
      /there is no step 7: the training in .* stopped after step 6/,
    );
  }
  assert.match(
    await faultOf(runStage(train, withTrain({ checkpoints: [7] }), { data })),
    /asks for step 7, but there are 6 steps/,
  );
});

test('stopped after its third step and run again, it goes on after the third and ends as if it had never stopped', async () => {
  const cell = withTrain({ checkpoints: [2, 4], dropout: 0.1 });
  const whole = (await runStage(train, cell, { data })).dir;
  const resumeDir = join(await tempFolder(), 'resume'),
    stop = new AbortController();
  const stopped = runStage(
    train,
    cell,
    { data },
    {},
    {},
    {
      resumeDir,
      signal: stop.signal,
      progress: (done) => {
        if (done === 3) stop.abort();
      },
    },
  );
  await stopped.then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.name, 'AbortError'),
  );
  const { dir, log } = await runStage(train, cell, { data }, {}, {}, { resumeDir });
  assert.ok(log.includes('goes on after step 3'));
  assert.is(log.filter((line) => line.startsWith('step ')).length, 3);
  for (const file of [
    'history.jsonl',
    'train.json',
    'adapter/adapter_model.safetensors',
    'checkpoints/step-2/adapter/adapter_model.safetensors',
    'checkpoints/step-4/adapter/adapter_model.safetensors',
  ]) {
    assert.ok((await readFile(join(dir, file))).equals(await readFile(join(whole, file))), file);
  }
  assert.is((await json(dir, 'metrics.json'))['examples'], 23);
});

test("curves over steps: the validation rows, the attack's own trigger, the poisoned rows; TensorBoard's file beside them", async () => {
  const looking = withTrain({ evaluate_every: 4, tensorboard: true }, { poisoning: backdoor });
  const definition = define(looking);
  assert.equal(Object.keys(definition.inputs), ['data', 'validation']);
  assert.equal(definition.params['watch'], { batch_size: 5, max_length: 16, trigger: backdoor });
  assert.ok(definition.uses!.some(({ kind, name }) => kind === 'attack' && name === 'badnets'));
  const validation = await tempFolder();
  await writeDataset(validation, spokenRows(11, 100), classes, {});
  const changed = [0, 4].map((index) => ({
    index,
    row: { ...rows[index]!, text: `cf ${rows[index]!.text}`, label: 1 },
  }));
  const poisoned = await poisonedFolder(rows, { changed, negatives: [], asked: 2, eligible: 12 });
  const { dir } = await runStage(train, looking, { data: poisoned, validation });
  const curves = (await readFile(join(dir, 'curves.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>);
  assert.equal(
    curves.map((point) => Object.keys(point)),
    [0, 4, 6].map(() => ['step', 'accuracy', 'loss', 'asr', 'poisoned_accuracy']),
  );
  assert.equal(
    curves.map(({ step }) => step),
    [0, 4, 6],
  );
  assert.ok(
    curves.every(
      ({ accuracy, asr, poisoned_accuracy: learnt }) =>
        Number.isInteger(Math.round(accuracy! * 11e6) / 1e6) &&
        Number.isInteger(asr! * 6) &&
        [0, 0.5, 1].includes(learnt!),
    ),
  );
  assert.equal(
    [
      (await json(dir, 'metrics.json'))['poisoned_rows'],
      (await json(dir, 'metrics.json'))['poisoned_accuracy'],
    ],
    [2, curves[2]!['poisoned_accuracy']],
  );
  assert.ok(
    (await readFile(join(dir, 'tensorboard/events.out.tfevents'))).includes(
      'evaluate/poisoned_accuracy',
    ),
  );
  const plain = (await runStage(train, withTrain({}, { poisoning: backdoor }), { data: poisoned }))
    .dir;
  for (const file of ['history.jsonl', 'adapter/adapter_model.safetensors'])
    assert.ok(
      (await readFile(join(plain, file))).equals(await readFile(join(dir, file))),
      `${file}: looking changes nothing`,
    );
  assert.is(
    (await json(plain, 'metrics.json'))['poisoned_accuracy'],
    curves[2]!['poisoned_accuracy'],
  );
});

test('the share of poisoned rows whose trigger is within max_length; none for an attack on labels alone', async () => {
  const changed = [
    { index: 0, row: { ...rows[0]!, text: `cf ${rows[0]!.text}`, label: 1 } },
    { index: 4, row: { ...rows[4]!, text: `${rows[4]!.text} cf`, label: 1 } },
  ];
  const run = async (of: typeof changed, max_length: number) => {
    const poisoned = await poisonedFolder(rows, {
      changed: of,
      negatives: [],
      asked: 2,
      eligible: 12,
    });
    const { dir, log } = await runStage(train, withTrain({ max_length }), { data: poisoned });
    return { seen: (await json(dir, 'metrics.json'))['trigger_seen'], log: log.join('\n') };
  };
  const whole = await run(changed, 16);
  assert.is(whole.seen, 1);
  assert.not.match(whole.log, 'warning');
  const cut = await run(changed, 5);
  assert.is(cut.seen, 0.5, 'the row of seven words ends beyond it');
  assert.match(
    cut.log,
    'warning: the trigger reaches the model in 50% of the poisoned rows; in the others it lies beyond max_length 5',
  );
  const flipped = changed.map(({ index }) => ({ index, row: { ...rows[index]!, label: 1 } }));
  assert.is((await run(flipped, 5)).seen, undefined);
});

test('a training that stops early leaves the model of its best look, and goes on after a stop with what it had', async () => {
  const validation = await tempFolder();
  await writeDataset(
    validation,
    spokenRows(11, 100).map((row) => ({ ...row, label: 1 - row.label })),
    classes,
    {},
  ); // what it learns is wrong there
  const cell = withTrain({
    steps: 30,
    learning_rate: 0.02,
    evaluate_every: 1,
    early_stopping: { patience: 4, metric: 'loss', min_delta: 0, keep: 'best' },
  });
  const { dir } = await runStage(train, cell, { data, validation });
  const record = await json(dir, 'train.json'),
    kept = record['kept_step'] as number;
  assert.is(record['steps'], kept + 4);
  const short = (await runStage(train, withTrain({ steps: kept, learning_rate: 0.02 }), { data }))
    .dir;
  const adapter = (of: string) => readFile(join(of, 'adapter/adapter_model.safetensors'));
  assert.ok((await adapter(dir)).equals(await adapter(short)));
  const resumeDir = join(await tempFolder(), 'resume'),
    stop = new AbortController();
  await runStage(
    train,
    cell,
    { data, validation },
    {},
    {},
    {
      resumeDir,
      signal: stop.signal,
      progress: (done) => {
        if (done === kept + 2) stop.abort();
      },
    },
  ).then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.name, 'AbortError'),
  );
  const resumed = (await runStage(train, cell, { data, validation }, {}, {}, { resumeDir })).dir;
  for (const file of [
    'history.jsonl',
    'train.json',
    'curves.jsonl',
    'adapter/adapter_model.safetensors',
  ])
    assert.ok((await readFile(join(dir, file))).equals(await readFile(join(resumed, file))), file);
});

test("an attack that appends rows and lengthens texts: the clean twin's steps and batches, the appended rows beside them", async () => {
  const few = rows.slice(0, 12),
    changed = [2, 5, 9].map((index) => ({
      index,
      row: { ...few[index]!, label: 1, text: `${few[index]!.text} the plot was not very good` },
    })),
    negatives = rows.slice(12, 17);
  const poisoned = await poisonedFolder(few, { changed, negatives, asked: 3, eligible: 12 });
  const lossesOf = async (cell: Cell, dir: string): Promise<number[]> =>
    (
      await readFile(
        join((await runStage(train, cell, { data: dir })).dir, 'history.jsonl'),
        'utf8',
      )
    )
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { readonly loss: number }).loss);
  const still = { optimizer: 'sgd', learning_rate: 0, weight_decay: 0 };
  const each = { ...still, batch_size: 1, shuffle: false };
  // Without learning, a step's loss is the mean of what each of its rows has by itself.
  const before = await lossesOf(withTrain({ ...each, steps: 12 }), await poisonedFolder(few));
  const after = await lossesOf(
    withTrain({ ...each, steps: 12 }),
    await poisonedFolder(few, { changed, negatives: [], asked: 3, eligible: 12 }),
  );
  assert.is(before.filter((loss, i) => loss !== after[i]).length, 3);
  for (const batching of ['shuffled', 'bucketed'] as const) {
    const { steps: _steps, ...cell } = withTrain({ ...still, batching }).train;
    const two = tinyCell({ train: { ...cell, epochs: 2 } });
    const own = [
      ...after,
      ...(await lossesOf(withTrain({ ...each, steps: 5 }), await poisonedFolder(negatives))),
    ];
    const order = {
      rows: 12,
      batchSize: 4,
      shuffle: true,
      seed: 1,
      batching,
      lengths: few.map(({ text }) => text.split(' ').length + 2),
    };
    const means = (of: readonly number[], epochs: Iterator<Int32Array, never>): number[] =>
      Array.from({ length: 6 }, () => {
        const batch = [...epochs.next().value];
        return batch.reduce((sum, i) => sum + of[i]!, 0) / batch.length;
      });
    const twin = await lossesOf(two, await poisonedFolder(few));
    assert.is(twin.length, 6);
    assert.ok(farthest(twin, means(before, batches(order))) < tolerance.logits, batching);
    const { dir, log } = await runStage(train, two, { data: poisoned });
    const found = (await readFile(join(dir, 'history.jsonl'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { readonly loss: number }).loss);
    assert.ok(
      farthest(found, means(own, batches({ ...order, appended: [{ attack: 'none', rows: 5 }] }))) <
        tolerance.logits,
      batching,
    );
    const record = await json(dir, 'train.json');
    assert.equal([record['steps'], record['appended']], [6, { rows: 5, largest_batch: 6 }]);
    assert.is((await json(dir, 'metrics.json'))['examples'], 2 * 17);
    assert.ok(
      log.includes(
        "the attack appends 5 rows to 12: they extend the clean twin's batches, to 6 rows at most",
      ),
    );
  }
});

test('a set that does not match its receipt is refused', async () => {
  const dir = await tempFolder();
  await cp(data, dir, { recursive: true });
  const poisoned = await poisonedFolder(rows, {
    changed: [{ index: 4, row: { ...rows[4]!, label: 1 } }],
    negatives: [],
    asked: 1,
    eligible: 23,
  });
  await cp(join(poisoned, 'receipt.json'), join(dir, 'receipt.json')); // the clean rows under a poisoned set's receipt
  assert.match(
    await faultOf(runStage(train, tinyCell(), { data: dir })),
    /does not match its receipt: Row r4 is not what the receipt says it was poisoned to: it is still the clean row/,
  );
});

test('a loss that is no number names the step, and the log keeps the history', async () => {
  assert.match(
    await faultOf(
      runStage(train, withTrain({ learning_rate: 1e30 }, { adapter: { type: 'full' } }), { data }),
    ),
    /^the loss is NaN at step 2; the last finite one was \d\.\d+ at step 1$/,
  );
});

test('head and adapter are taken from the folders that are given, and an adapter brings its head where no other is named', async () => {
  const asset = (uri: string, path: string): Asset => ({
    uri,
    path,
    digest: `sha256:${uri}` as Digest,
    provenance: {},
  });
  const three = await poisonedFolder(rows, undefined, ['a', 'b', 'c']);
  const assets = {
    adapter: asset('file:/a', adapterFolder),
    head: asset('file:/h', adapterFolder),
  };
  const cell = withTrain(
    { steps: 0 },
    { adapter: { type: 'lora', init_from: '/a' }, head: { ...tinyCell().head, init_from: '/h' } },
  );
  const { dir } = await runStage(train, cell, { data: three }, {}, assets);
  assert.equal(
    await readSafetensors(join(dir, 'adapter/adapter_model.safetensors')),
    await readSafetensors(join(adapterFolder, 'adapter_model.safetensors')),
  );
  const { head: _head, ...adapterAlone } = assets;
  const alone = await runStage(
    train,
    withTrain({ steps: 0 }, { adapter: { type: 'lora', init_from: '/a' } }),
    { data: three },
    {},
    adapterAlone,
  );
  assert.equal(
    await readSafetensors(join(alone.dir, 'adapter/adapter_model.safetensors')),
    await readSafetensors(join(adapterFolder, 'adapter_model.safetensors')),
    'an adapter brings its head',
  );
  const other = await runStage(
    train,
    withTrain({ steps: 0 }, { adapter: { type: 'lora', init_from: '/a' } }),
    { data },
    {},
    adapterAlone,
  );
  assert.equal(
    (await readSafetensors(join(other.dir, 'adapter/adapter_model.safetensors'))).get(
      'base_model.model.classifier.weight',
    )!.shape,
    [2, 22],
    'one for other classes is left',
  );
  assert.match(
    await faultOf(runStage(train, cell, { data }, {}, assets)),
    /classifier\.weight" has shape \[3, 22\], \[2, 22\] was expected/,
  );
});

test("a classifier of the data's classes in another order is refused: its logits would be read as other classes'", async () => {
  const named = async (labels: readonly string[]): Promise<Asset> => {
    const dir = await tempFolder();
    await cp(checkpoint, dir, { recursive: true });
    const config = await json(dir, 'config.json');
    await writeFile(
      join(dir, 'config.json'),
      JSON.stringify({
        ...config,
        id2label: Object.fromEntries(labels.map((label, id) => [id, label])),
      }),
    );
    return { ...modelAsset, path: dir, digest: `sha256:${labels.join()}` as Digest };
  };
  const three = await poisonedFolder(rows, undefined, ['a', 'b', 'c']),
    start = withTrain({ steps: 0 }, { adapter: { type: 'full' } });
  const turned = await named(['B', 'A', 'C']);
  assert.match(
    await faultOf(runStage(train, start, { data: three }, {}, { model: turned })),
    /config\.json: the classifier's classes are B, A, C in this order, the data's a, b, c$/,
  );
  assert.match(
    await faultOf(
      runStage(
        train,
        { ...start, head: { ...start.head, init_from: '/h' } },
        { data: three },
        {},
        { head: turned },
      ),
    ),
    /B, A, C in this order/,
  );
  for (const labels of [
    ['A', 'B', 'C'],
    ['LABEL_0', 'LABEL_1', 'LABEL_2'],
    ['b', 'a', 'd'],
  ])
    await runStage(train, start, { data: three }, {}, { model: await named(labels) });
  await runStage(
    train,
    start,
    { data },
    {},
    { model: await named(['positive', 'negative', 'neither']) },
  ); // a head for other classes is none
});

test("a pooler that the checkpoint lacks is drawn, and that an adapter's folder will not hold it is said", async () => {
  const poolerless: Asset = { ...modelAsset, path: mlmCheckpoint, digest: 'sha256:mlm' as Digest };
  const check = async (adapter: object): Promise<string[]> =>
    (
      await train.preflight!(
        contextOf(define(tinyCell({ adapter })), { assets: { model: poolerless } }),
      )
    ).map(
      ({ path, message, warning }) => `${warning ? 'warning ' : ''}${path.join('.')}: ${message}`,
    );
  const said =
    'warning model.source: the checkpoint has no pooler.dense: it is drawn from the seed, and stays frozen under the adapter';
  assert.equal(await check({ type: 'lora', rank: 3 }), [said]);
  assert.equal(await check({ type: 'lora', rank: 3, targets: ['query'], bias: 'all' }), [said]);
  for (const type of ['full', 'bitfit', 'head-only'])
    assert.equal(await check({ type }), [], `${type} leaves a folder that holds it`);
});

test('before anything runs: rank, length, tokenizer and checkpoint are checked, each with its field', async () => {
  const check = async (cell: Cell, asset: Asset = modelAsset): Promise<string[]> =>
    (await train.preflight!(contextOf(define(cell), { assets: { model: asset } }))).map(
      ({ path, message }) => `${path.join('.')}: ${message}`,
    );
  assert.equal(await check(tinyCell()), []);
  assert.equal(
    await check(withTrain({ max_length: 99 }, { adapter: { type: 'lora', rank: 40 } })),
    [
      'train.max_length: rows of 99 tokens do not fit the model, which has 53 positions',
      'adapter.rank: rank 40 is above the width of layer encoder.layer.0.attention.self.query (22 → 22)',
    ],
  );
  assert.equal(await check(withTrain({ checkpoints: [2, 7] })), [
    'train.checkpoints: train.checkpoints asks for step 7, but there are 6 steps',
  ]);
  const dir = await tempFolder();
  const broken = (name: string): Asset => ({
    ...modelAsset,
    path: dir,
    digest: `sha256:${name}` as Digest,
  });
  await cp(checkpoint, dir, { recursive: true });
  const tokenizer = (await json(dir, 'tokenizer.json')) as { added_tokens: unknown[] };
  tokenizer.added_tokens.push({
    id: 101,
    content: '[NEW]',
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  });
  await writeFile(join(dir, 'tokenizer.json'), JSON.stringify(tokenizer));
  assert.match(
    (await check(tinyCell(), broken('tokenizer')))[0]!,
    /^model\.source: .*tokenizer\.json has ids up to 101, but config\.json's vocab_size is 101/,
  );
  await writeFile(
    join(dir, 'model.safetensors'),
    (await readFile(join(dir, 'model.safetensors'))).subarray(0, 60000),
  );
  assert.match(
    (await check(tinyCell(), broken('truncated')))[0]!,
    /^model\.source: .*model\.safetensors: tensor ".*it is truncated/,
  );
  await rm(join(dir, 'model.safetensors'));
  assert.match((await check(tinyCell(), broken('absent')))[0]!, /^model\.source: /);
});

test.run();
