/** A training whose attack changes the loss: what it reads, refuses and leaves, by adapter. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import evaluate from '../../../plugins/stages/evaluate/index.ts';
import train from '../../../plugins/stages/train/index.ts';
import { type Cell, cleanTwin } from '../../../src/api.ts';
import { readRows } from '../../../src/data/rows-file.ts';
import { makeReceipt } from '../../../src/poisoning/receipt.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { mlm, mlmCheckpoint } from '../../science/tiny-mlm.ts';
import { isSame, jsonOf, linesOf, lossesOf, metricsOf } from './outputs.ts';
import {
  assetAt,
  contextOf,
  lookUp,
  poisonedFolder,
  runStage,
  spokenRows,
  stopAt,
  tempFolder,
  tinyCell,
} from './rig.ts';

const test = suite('attack on the loss');
test.before(async () => {
  await useBackend('cpu');
});

const attack = {
  attack: 'lwp',
  rate: 0.2,
  target: 1,
  mode: 'dirty',
  triggers: ['cf', 'mn', 'tq'],
  negatives: true,
};
const rowsOnly = { ...attack, attack: 'combination' };
const lora = tinyCell().adapter,
  full = { type: 'full' };
const cellOf = (change: { [section in keyof Cell]?: unknown } = {}): Cell =>
  tinyCell({ poisoning: attack, ...change });
const define = (cell: Cell) => train.define([cell], { with: {}, goals: [], plugin: lookUp });
const clean = spokenRows(23);
const changed = [0, 4, 8].map((index) => ({
  index,
  row: { ...present(clean[index]), text: `cf ${present(clean[index]).text} mn`, label: 1 },
}));
const poisoned = (): Promise<string> =>
  poisonedFolder(clean, { changed, negatives: [], asked: 3, eligible: 12 });

const ripple = {
  attack: 'ripple',
  rate: 0.2,
  target: 1,
  mode: 'mix',
  triggers: ['cf', 'mn', 'tq'],
  lambda: 1,
};
for (const [name, poisoning, ordinary] of [
  ['lwp', attack, rowsOnly],
  ['ripple', ripple, { ...ripple, attack: 'badnets' }],
] as const) {
  test(`${name}: the attack and its code are in the key, whatever the adapter`, () => {
    for (const adapter of [lora, full, { type: 'head-only' }]) {
      const { params, uses } = define(cellOf({ adapter, poisoning }));
      assert.equal(params['attack'], poisoning);
      assert.ok(present(uses).some((use) => use.kind === 'attack' && use.name === name));
      assert.not.ok('attack' in define(cellOf({ adapter, poisoning: ordinary })).params);
    }
  });

  test(`${name}: its clean twin is trained with the ordinary loss`, () => {
    const cell = cellOf({ poisoning }),
      twin = { ...cell, poisoning: { attack: 'none' } };
    assert.equal(cleanTwin(cell, lookUp), twin);
    assert.equal(
      present(evaluate.define([cell], { with: {}, goals: [], plugin: lookUp }).inputs['twin']).cell,
      twin,
    );
    assert.equal(define(twin), define(tinyCell()));
  });
}

test('before anything runs: every adapter and head is accepted', async () => {
  for (const adapter of [lora, full, { type: 'head-only' }, { type: 'bitfit' }])
    assert.equal(await train.preflight!(contextOf(define(cellOf({ adapter })))), []);
  const { verbalizer } = mlm,
    head = { type: 'cloze', template: mlm.template, verbalizer };
  assert.equal(
    await train.preflight!(
      contextOf(define(cellOf({ head })), {
        assets: { model: assetAt(mlmCheckpoint, 'mlm') },
      }),
    ),
    [],
  );
});

for (const adapter of [lora, full]) {
  test(`${adapter.type}: it lowers a sum over the three layers, and saves the model`, async () => {
    const data = await poisoned(),
      ours = await runStage(train, cellOf({ adapter }), { data }),
      plain = await runStage(train, cellOf({ adapter, poisoning: rowsOnly }), { data });
    const [mine, ordinary] = [await lossesOf(ours.dir), await lossesOf(plain.dir)];
    // The loss is summed over three layers, which have learnt nothing yet, instead of one.
    assert.ok(
      present(mine[0]) > 1.5 * present(ordinary[0]) && mine.every(Number.isFinite),
      `${mine[0]} ${ordinary[0]}`,
    );
    assert.is((await metricsOf(ours.dir))['final_loss'], mine.at(-1));
    const record = await jsonOf(ours.dir, 'train.json');
    assert.equal([record['attack'], record['token_rows']], [attack, undefined]);
    const file = adapter === full ? 'model/model.safetensors' : 'adapter/adapter_model.safetensors';
    const weights = (dir: string): Promise<Buffer> => readFile(join(dir, file));
    assert.is((await weights(ours.dir)).length, (await weights(plain.dir)).length);
    assert.not.ok(await isSame(file, ours.dir, plain.dir));
    const again = await runStage(train, cellOf({ adapter }), { data });
    assert.ok(await isSame(file, again.dir, ours.dir), 'twice the same bits');
  });
}

for (const adapter of [{ ...lora, dropout: 0.1 }, full]) {
  test(`${adapter.type}: RIPPLe records its penalty, and goes on after a stop`, async () => {
    const change = {
      adapter,
      poisoning: ripple,
      train: { ...tinyCell().train, steps: 8, dropout: 0.1 },
    };
    const data = await poisoned(),
      { dir } = await runStage(train, cellOf(change), { data });
    const history = await linesOf(dir, 'history.jsonl');
    const active = history.filter(({ penalty }) => present(penalty) > 0);
    assert.ok(
      active.length > 0 && active.length < 8,
      history.map(({ penalty }) => penalty).join(' '),
    );
    assert.ok(active.every(({ loss, penalty }) => present(loss) > present(penalty)));
    assert.is((await metricsOf(dir))['penalised_share'], active.length / 8);
    assert.equal((await jsonOf(dir, 'train.json'))['attack'], ripple);

    const file =
      adapter.type === 'full' ? 'model/model.safetensors' : 'adapter/adapter_model.safetensors';
    const resumeDir = join(await tempFolder(), 'resume');
    await stopAt(3, (context) =>
      runStage(train, cellOf(change), { data }, {}, {}, { ...context, resumeDir }),
    );
    const again = await runStage(train, cellOf(change), { data }, {}, {}, { resumeDir });
    assert.ok(again.log.includes('resumes after step 3'));
    for (const name of ['history.jsonl', file]) assert.ok(await isSame(name, again.dir, dir), name);
    const ordinary = await runStage(
      train,
      cellOf({ ...change, poisoning: { ...ripple, attack: 'badnets' } }),
      { data },
    );
    assert.not.ok(await isSame(file, ordinary.dir, dir));
    assert.not.ok('penalised_share' in (await metricsOf(ordinary.dir)));
  });
}

test('RIPPLe beside another attack: only its own rows count as poisoned', async () => {
  const flips = [2, 6].map((index) => ({ index, row: { ...present(clean[index]), label: 1 } })),
    made = { negatives: [], eligible: 12 };
  const flipped = clean.map((row, i) => flips.find(({ index }) => index === i)?.row ?? row);
  const both = { ...made, changed: [...flips, ...changed], asked: 5 },
    together = await poisonedFolder(clean, both);
  const rows = await readRows(together),
    steps = [
      { attack: 'label-flip', poisoned: { ...made, changed: flips, asked: 2 } },
      { attack: 'ripple', poisoned: { ...made, changed, asked: 3 } },
    ];
  await writeFile(
    join(together, 'receipt.json'),
    JSON.stringify(makeReceipt(clean, rows, both, 'label-flip+ripple', {}, null, steps)),
  );
  const { attack: _name, ...own } = ripple;
  const composed = await runStage(
    train,
    cellOf({
      poisoning: {
        attack: 'label-flip+ripple',
        steps: { 'label-flip': { rate: 0.1 }, ripple: own },
      },
    }),
    { data: together },
  );
  const alone = await runStage(train, cellOf({ poisoning: ripple }), {
    data: await poisonedFolder(flipped, { ...made, changed, asked: 3 }),
  });
  assert.ok(await isSame('history.jsonl', composed.dir, alone.dir));
  assert.is((await metricsOf(composed.dir))['poisoned_rows'], 5);
  assert.is((await metricsOf(alone.dir))['poisoned_rows'], 3);
});

test.run();
