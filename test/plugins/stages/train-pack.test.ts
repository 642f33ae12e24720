import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import train from '../../../plugins/stages/train/index.ts';
import { runPacked } from '../../../plugins/stages/train/pack.ts';
import type { Context } from '../../../plugins/stages/train/params.ts';
import type { Cell, Digest, RunContext } from '../../../src/api.ts';
import { readSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { openCase } from '../../science/family-cases.ts';
import { checkpoint, farthest } from '../../science/tiny-bert.ts';
import { tolerance } from '../../tolerances.ts';
import { jsonOf, lossesOf } from './outputs.ts';
import {
  assetAt,
  contextOf,
  lookUp,
  modelAsset,
  poisonedFolder,
  runStage,
  spokenRows,
  tempFolder,
  tinyCell,
  withTrain,
} from './rig.ts';

await useBackend('cpu');
const data = await poisonedFolder(spokenRows(23)),
  fewer = await poisonedFolder(spokenRows(11, 40));

const define = (cell: Cell) => train.define([cell], { with: {}, goals: [], plugin: lookUp });
const key = (cell: Cell): string | null => present(train.pack).key(define(cell));
const lora = (more: object = {}) => ({ adapter: { type: 'lora', rank: 3, alpha: 'r', ...more } });

interface Ran {
  readonly dir: string;
  readonly error: string | null;
  readonly log: readonly string[];
}

async function runPack(
  members: readonly {
    readonly cell: Cell;
    readonly data: string;
    readonly change?: (context: RunContext) => RunContext;
  }[],
): Promise<Ran[]> {
  const contexts: { readonly context: RunContext; readonly logged: string[] }[] = [];
  for (const member of members) {
    const outDir = join(await tempFolder(), 'out');
    await mkdir(outDir);
    const own = contextOf(define(member.cell), { inputs: { data: member.data } });
    const context = { ...own, outDir };
    contexts.push({ context: member.change?.(context) ?? context, logged: own.logged });
  }
  // As on a GPU; test/science/training/company.test.ts has the packs of processors.
  const promises = runPacked(
    contexts.map(({ context }) => context as Context),
    true,
  );
  return Promise.all(
    promises.map(async (promise, i): Promise<Ran> => {
      const {
        context: { outDir: dir },
        logged: log,
      } = present(contexts[i]);
      return promise.then(
        () => ({ dir, error: null, log }),
        (error: unknown) => ({ dir, error: (error as Error).message, log }),
      );
    }),
  );
}

test('trainings that differ in seed, rate, rank, variance, rows or steps share a pack', () => {
  const common = key(tinyCell());
  assert.type(common, 'string');
  const like = [
    tinyCell({ seed: 9 }),
    tinyCell({ poisoning: { attack: 'badnets', rate: 0.1 } }),
    tinyCell(lora({ rank: 8, init: { variance: '2/d' }, targets: ['query'], rslora: true })),
    withTrain({
      steps: 2,
      learning_rate: 1,
      weight_decay: 0,
      batch_size: 2,
      schedule: 'linear',
      warmup: 1,
      shuffle: false,
      max_length: 8,
    }),
  ];
  assert.equal(
    like.map(key),
    like.map(() => common),
  );
});

test('what trains alone, or with others', () => {
  const alone = [
    tinyCell({ adapter: { type: 'full' } }),
    withTrain({ steps: 0 }),
    withTrain({ dropout: 0.1 }),
    withTrain({ clip_norm: 1 }),
    withTrain({ accumulate: 2 }),
    withTrain({ checkpoints: 2 }),
    tinyCell(lora({ dropout: 0.1 })),
    tinyCell(lora({ bias: 'all' })),
    tinyCell(lora({ freeze_a: true })),
    tinyCell(lora({ of_later: 1 })),
  ];
  assert.equal(
    alone.map(key),
    alone.map(() => null),
  );
  const cloze = {
    type: 'cloze',
    template: '{text} {mask}',
    verbalizer: { negative: 'bad', positive: 'good' },
  };
  const random = (seed: number): Cell =>
    tinyCell({ seed, model: { ...tinyCell().model, init: 'random' } });
  const others = [
    withTrain({ beta1: 0.5 }),
    withTrain({ optimizer: 'sgd' }),
    tinyCell({ model: { source: 'file:/other', architecture: 'bert', init: 'pretrained' } }),
    tinyCell({ head: cloze }),
    tinyCell({ head: { ...cloze, template: '{mask} {text}' } }),
    random(1),
    random(2),
  ].map(key);
  assert.is(new Set([key(tinyCell()), ...others]).size, 8);
  assert.not.ok(others.includes(null));
});

test('on a processor, small batches under plain LoRA share steps', () => {
  const shares = (cell: Cell, gpu = false): boolean | undefined =>
    train.pack?.shares?.({ gpu }, define(cell).params);
  const pissa = lora({ init: { distribution: 'pissa' } });
  assert.ok(shares(tinyCell()));
  assert.ok(shares(withTrain({ batch_size: 16 })));
  for (const cell of [
    withTrain({ batch_size: 17 }),
    tinyCell(lora({ use_dora: true })),
    tinyCell(pissa),
    tinyCell({ adapter: { type: 'vera', rank: 3 } }),
  ]) {
    assert.is(shares(cell), false);
    assert.ok(shares(cell, true));
  }
});

test('its memory, if every row is as long as it may be', async () => {
  // 4 bytes · 2 layers · 4 rows · 16 tokens · (12·22 + 3·h′ + 3·2·16) floats, in MiB, rounded up
  const {
    intermediate_size: m,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    hidden_size: h,
  } = JSON.parse(await readFile(join(checkpoint, 'config.json'), 'utf8')) as Record<string, number>;
  const expected = (rows: number, length: number): number =>
    Math.ceil(
      (4 *
        present(layers) *
        rows *
        length *
        (12 * present(h) + 3 * present(m) + 3 * present(heads) * length)) /
        1048576,
    );
  const of = (cell: Cell): Promise<number> =>
    train.pack!.memoryMB!({
      params: define(cell).params,
      assets: { model: modelAsset },
    });
  assert.is(await of(tinyCell()), expected(4, 16));
  assert.is(await of(withTrain({ batch_size: 4096, max_length: 50 })), expected(4096, 50));

  // A decoder's logits count too, four times: 67 of each token of an answer.
  const decoder = await openCase('llama-causal');
  const causal = await train.pack!.memoryMB!({
    params: define(
      tinyCell({
        model: { source: 'file:/decoder', architecture: 'llama', init: 'pretrained' },
        head: { type: 'causal-lm', template: '{prompt}' },
        train: { ...tinyCell().train, batch_size: 512, max_length: 64 },
      }),
    ).params,
    assets: { model: assetAt(decoder.checkpoint, 'decoder') },
  });
  const floats = 2 * (12 * 16 + 3 * 23 + 3 * 4 * 64) + 4 * 67;
  assert.is(causal, Math.ceil((4 * 512 * 64 * floats) / 1048576));

  // 23 rows in batches of 400 and 1,000 that an attack appends: all in one batch.
  const dir = await tempFolder();
  await writeFile(join(dir, 'metrics.json'), JSON.stringify({ rows_total: 1023, negatives: 1000 }));
  assert.is(
    await train.pack!.memoryMB!({
      params: define(withTrain({ batch_size: 400, max_length: 50 })).params,
      assets: { model: modelAsset },
      inputs: { data: { dir, digest: 'sha256:set' as Digest } },
    }),
    expected(1023, 50),
  );
});

test('each leaves what it leaves by itself', async () => {
  const before = tf.memory().numTensors;
  const members = [
    { cell: tinyCell(), data },
    {
      cell: withTrain(
        { steps: 4, learning_rate: 0.003, schedule: 'cosine', weight_decay: 0.1 },
        { seed: 2, ...lora({ rank: 5, alpha: 16, init: { variance: '1/d' } }) },
      ),
      data: fewer,
    },
    { cell: withTrain({ batch_size: 3 }, { seed: 3 }), data },
  ];
  const packed = await runPack(members);
  for (const [i, { dir, error, log }] of packed.entries()) {
    assert.is(error, null);
    const alone = await runStage(train, present(members[i]).cell, {
      data: present(members[i]).data,
    });
    for (const file of ['train.json', 'adapter/adapter_config.json'])
      assert.equal(await jsonOf(dir, file), await jsonOf(alone.dir, file));
    assert.ok(farthest(await lossesOf(dir), await lossesOf(alone.dir)) < tolerance.logits);
    const weights = await readSafetensors(join(dir, 'adapter/adapter_model.safetensors'));
    for (const [name, { data: expected }] of await readSafetensors(
      join(alone.dir, 'adapter/adapter_model.safetensors'),
    )) {
      assert.ok(farthest(present(weights.get(name)).data, expected) < tolerance.logits, name);
    }
    const { packed: count, ...metrics } = await jsonOf(dir, 'metrics.json'),
      own = await jsonOf(alone.dir, 'metrics.json');
    assert.equal(Object.keys(metrics), Object.keys(own));
    for (const name of ['steps', 'examples', 'tokens', 'trainable_parameters'])
      assert.is(metrics[name], own[name]);
    assert.is(count, 3);
    assert.is(
      metrics['examples_per_second'],
      (metrics['examples'] as number) / (metrics['seconds'] as number),
    );
    assert.equal(
      log.map((line) => line.split(':')[0]),
      alone.log.map((line) => line.split(':')[0]),
    );
  }
  assert.ok(tf.memory().numTensors - before <= 57, 'the base checkpoint stays, nothing else');
});

test('stopped and run again, they go on together to the same end', async () => {
  const members = [
    { cell: tinyCell(), data },
    {
      cell: withTrain(
        { steps: 5, schedule: 'linear', weight_decay: 0.1 },
        { seed: 2, ...lora({ rank: 5, rank_pattern: { query: 2 } }) },
      ),
      data: fewer,
    },
    { cell: withTrain({ batch_size: 3, learning_rate: 0.003 }, { seed: 3 }), data },
  ];
  const whole = await runPack(members),
    before = tf.memory().numTensors;
  const folders = await Promise.all(members.map(async () => join(await tempFolder(), 'resume')));
  const stopped = await runPack(
    members.map((member, i) => ({
      ...member,
      change: (context: RunContext) => {
        const controller = new AbortController();
        return {
          ...context,
          resumeDir: present(folders[i]),
          signal: controller.signal,
          progress: (done: number) => {
            if (done === 3) controller.abort(new Error('it was asked to stop'));
          },
        };
      },
    })),
  );
  assert.equal(
    stopped.map(({ error }) => error),
    members.map(() => 'it was asked to stop'),
  );
  const solo = join(await tempFolder(), 'resume');
  await cp(present(folders[1]), solo, { recursive: true });
  const resumed = await runPack(
    members.map((member, i) => ({
      ...member,
      change: (context: RunContext) => ({ ...context, resumeDir: present(folders[i]) }),
    })),
  );
  for (const [i, { dir, error, log }] of resumed.entries()) {
    assert.is(error, null);
    assert.is(log.filter((line) => line === 'resumes after step 3').length, 1);
    assert.is((await jsonOf(dir, 'metrics.json'))['packed'], 3);
    for (const name of ['steps', 'examples', 'tokens'])
      assert.is(
        (await jsonOf(dir, 'metrics.json'))[name],
        (await jsonOf(present(whole[i]).dir, 'metrics.json'))[name],
      );
    for (const file of ['history.jsonl', 'train.json', 'adapter/adapter_model.safetensors'])
      assert.ok(
        (await readFile(join(dir, file))).equals(await readFile(join(present(whole[i]).dir, file))),
        `${i} ${file}`,
      );
  }
  assert.is(tf.memory().numTensors, before);

  const alone = await runStage(
    train,
    present(members[1]).cell,
    { data: fewer },
    {},
    {},
    { resumeDir: solo },
  );
  assert.ok(alone.log.includes('resumes after step 3'));
  assert.ok(
    farthest(await lossesOf(alone.dir), await lossesOf(present(whole[1]).dir)) < tolerance.logits,
    'by itself it goes on from what the pack left',
  );
  const weights = await readSafetensors(join(alone.dir, 'adapter/adapter_model.safetensors'));
  for (const [name, { data: expected }] of await readSafetensors(
    join(present(whole[1]).dir, 'adapter/adapter_model.safetensors'),
  )) {
    assert.ok(farthest(present(weights.get(name)).data, expected) < tolerance.logits, name);
  }
});

test('a member that fails does not hold up the others', async () => {
  const broken = await tempFolder();
  const [missing, diverged, stopped, sound] = await runPack([
    { cell: tinyCell(), data: broken },
    { cell: withTrain({ learning_rate: 1e30 }), data },
    {
      cell: tinyCell({ seed: 2 }),
      data,
      change: (context) => {
        const controller = new AbortController();
        return {
          ...context,
          signal: controller.signal,
          progress: (done) => {
            if (done === 3) controller.abort(new Error('it was asked to stop'));
          },
        };
      },
    },
    { cell: tinyCell({ seed: 3 }), data },
  ]);
  assert.match(present(missing!.error), /dataset\.json/);
  assert.match(present(diverged!.error), /^(the loss is|the weights are not finite)/);
  assert.ok(
    present(diverged).log.some((line) => line.startsWith('{"step":1,')),
    'its history is in its log',
  );
  assert.is(present(stopped).error, 'it was asked to stop');
  assert.is(present(sound).error, null);
  assert.ok(
    farthest(
      await lossesOf(present(sound).dir),
      await lossesOf((await runStage(train, tinyCell({ seed: 3 }), { data })).dir),
    ) < tolerance.logits,
  );
});

test.run();
