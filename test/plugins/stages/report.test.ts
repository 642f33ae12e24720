import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import report from '../../../plugins/stages/report/index.ts';
import { gatherOutputs } from '../../../plugins/stages/report/outputs.ts';
import type { Cell, Digest, ExperimentFacts, JsonObject, StageFacts } from '../../../src/api.ts';
import type { Outputs } from '../../../src/report/outputs.ts';
import { cellOf, rowWith, visible } from '../../report/cells.ts';
import { present } from '../../rig/present.ts';
import { cells, contextOf, define, folder, inputFolders, run } from './report-rig.ts';
import { tempFolder } from './rig.ts';

const test = suite('report stage');

test('it reads every other goal, receipt and data set under the name of its cell', () => {
  const { inputs, uses } = define();
  assert.equal(Object.keys(inputs), [
    ...[0, 1, 2].flatMap((i) =>
      ['train', 'evaluate', 'ntk', 'fisher', 'poison'].map((kind) => `${kind}:${i}`),
    ),
    'twin:2',
    'training data',
    'validation data',
  ]);
  assert.is(present(inputs['fisher:1']).cell, cells[1]);
  assert.equal(
    [present(inputs['training data']).kind, present(inputs['training data']).with],
    ['data', { split: 'train' }],
  );
  assert.equal(uses, [
    { kind: 'attack', name: 'none' },
    { kind: 'attack', name: 'badnets' },
  ]);
});

test('goals of other kinds ask for no attack and no data', () => {
  assert.equal(
    [
      Object.keys(define(cells, ['count', 'report']).inputs),
      define(cells, ['count', 'report']).uses,
    ],
    [['count:0', 'count:1', 'count:2'], []],
  );
});

test('its parameters hold what the page says of the grid, and no place on this machine', () => {
  const key = (of: readonly Cell[]): string => JSON.stringify(define(of).params);
  assert.not.match(key(cells), /file:\/|"source":"\//);
  assert.match(key(cells), 'file:…/rows.tsv');
  const named = (file: string, [cell] = cells): Cell => {
    const { data } = present(cell);
    const split = { ...data.train, source: `file:/home/u/${file}` };
    return { ...present(cell), data: { ...data, train: split, validation: split } };
  };
  const two = define([named('CoLA/train.tsv'), named('RTE/train.tsv')]).params['sources'] as {
    readonly [role: string]: { readonly source: string };
  };
  assert.equal(
    ['training data', 'training data (2)'].map((role) => two[role]?.source),
    ['file:…/CoLA/train.tsv', 'file:…/RTE/train.tsv'],
  );
  assert.is.not(
    key(cells),
    key(cells.map((cell) => ({ ...cell, train: { ...cell.train, learning_rate: 1 } }))),
    'the learning rate is on the page',
  );
  assert.is(key(cells), key(structuredClone(cells)));
  assert.is((define().params['train'] as unknown[]).length, 2, 'what cells share is written once');
});

test('a thousand cells are asked for in linear time', () => {
  const many = Array.from({ length: 1000 }, (_, seed) => ({ ...present(cells[0]), seed }));
  assert.is(Object.keys(define(many).inputs).length, 5002);
  assert.ok(JSON.stringify(define(many).params).length < 150_000);
});

const experimentOf = (axes: readonly JsonObject[]): ExperimentFacts => ({
  name: 'x',
  specFile: 'x',
  specText: '',
  stages: [],
  sources: [],
  environment: {},
  cells: axes.map((cell) => ({ cell, seed: 1, stages: {} })),
});

test('every row is gathered, with what cell and clean twin answered', async () => {
  const { dir } = await run();
  const outputs = JSON.parse(
    gunzipSync(await readFile(join(dir, 'outputs.json.gz'))).toString(),
  ) as Outputs;
  assert.equal(
    outputs.axes.map(({ path, values }) => [path, values]),
    [
      ['poisoning.attack', ['none', 'badnets']],
      ['adapter.type', ['full', 'lora']],
    ],
    'to have a rank, or a rate, tells nothing more',
  );
  assert.equal(outputs.cells[1], {
    at: [0, 1],
    own: 1,
    twin: null,
    poisoned: 1,
    target: 1,
  });
  assert.equal(outputs.cells[2], { at: [1, 0], own: 2, twin: 3, poisoned: 2, target: 1 });
  assert.equal(outputs.sets, [
    {
      classes: ['ham', 'spam'],
      ids: ['r0', 'r1', 'r,"2"'],
      texts: ['buy <b>now</b>', 'hello there', 'see you'],
      labels: [1, 0, 0],
    },
  ]);
  const [own, twin] = [outputs.evaluations[2], outputs.evaluations[3]];
  assert.equal(present(own).plain.given, [1, 0, 1]);
  assert.equal(
    [own, twin].map((of) => of?.triggered?.given),
    [
      [1, 0],
      [0, 0],
    ],
  );
  assert.equal(outputs.questions[present(own).plain.questions], {
    rows: [0, 1, 2],
    asked: [0, { unread: [[5, 11]] }, 0],
    of: 3,
  });
  assert.equal(outputs.questions[present(own?.triggered).questions], {
    rows: [1, 2],
    asked: [
      { edit: [6, 'cf ', 5], unread: null },
      { edit: [4, 'cf ', 3], rejected: true },
    ],
    of: 2,
  });
  assert.is(own?.triggered?.questions, twin?.triggered?.questions, 'what both were asked');
  assert.equal(outputs.poisoned[2], {
    of: 1,
    rows: [{ id: 'r1', original: 0, edit: [6, 'cf ', 5], labels: ['ham', 'spam'] }],
  });
  assert.equal(outputs.originals, ['hello there']);
});

test('of too many rows the first of each list are gathered, and each says how many', async () => {
  const given = await inputFolders();
  const inputs = Object.fromEntries(
    Object.entries(given).map(([name, dir]) => [name, { dir, digest: '' as Digest }]),
  );
  const receiptOf = (name: string): string => join(present(given[name]), 'receipt.json');
  const receipt = JSON.parse(await readFile(receiptOf('poison:2'), 'utf8')) as {
    readonly rows: readonly object[];
  };
  const poisoned = [0, 2, 5];
  for (const [i, count] of poisoned.entries()) {
    const rows = Array.from({ length: count }, (_, id) => ({ ...receipt.rows[0], id: `t${id}` }));
    await writeFile(receiptOf(`poison:${i}`), JSON.stringify({ ...receipt, rows }));
  }
  const outputs = await gatherOutputs(
    { inputs, signal: new AbortController().signal },
    [1, 2, 3].map((seed) => cellOf({ seed })),
    [],
    { mostRead: 1, mostPoisoned: 6 },
  );
  const { sets, evaluations, questions, poisoned: lists } = present(outputs ?? undefined);
  assert.equal(sets[0]?.ids, ['r0']);
  assert.equal(questions[present(evaluations[2]).plain.questions], {
    rows: [0],
    asked: [0],
    of: 3,
  });
  assert.equal(
    lists.map(({ of, rows }) => [of, rows.map(({ id }) => id)]),
    [
      [0, []],
      [2, ['t0', 't1']],
      [5, ['t0', 't1']],
    ],
    'six poisoned rows in all, two for each receipt',
  );
});

test('the page says what the files hold', async () => {
  const { dir, html } = await run();
  const text = visible(html);
  assert.equal(rowWith(html, 'no attack', 'LoRA r = 2').slice(0, 4), [
    'no attack',
    'LoRA r = 2',
    '1',
    '0.800',
  ]);
  assert.equal(rowWith(html, 'badnets, rate 0.5', 'full').slice(2), ['1', '0.850', '0.050']);
  const attacks = html.slice(html.indexOf('aria-label="Attacks by condition"'));
  assert.equal(rowWith(attacks, 'badnets, rate 0.5', 'full').slice(2), [
    '1',
    '0.750',
    '0.250',
    '0.500',
  ]);
  // IB: ½ log 4 = 0.6931 against ½ log 36 = 1.792.
  assert.equal(rowWith(html, 'after training', 'IB', 'LoRA r = 2').slice(4, 6), [
    '0.6931',
    '1.792',
  ]);
  // Two layers of fan-in 64, σ² = 1/d, s = α/r = 2: s²σ²n = 4. The measured extremes are those of
  // the first two layers.
  const premise = rowWith(html, 'LoRA r = 2', '64');
  assert.equal(
    [1, 4, 5, 6, 7, 8, 10, 11].map((column) => premise[column]),
    ['2', '2', '0.01563', '0.01200 to 0.02000', 'broken', '4 broken', '[+2, +4]', 'no'],
  );
  for (const said of [
    '1 of 3 rows poisoned (1 asked); target: spam (label 1).',
    'sha256:data',
    'ab'.repeat(32),
    '1.2.3',
    'git.dirty',
    'ham (2), spam (1)',
    'name: tiny # <i>',
    'BadNets',
  ])
    assert.match(text, said);
  assert.match(html, 'hello <mark>cf</mark> there');
  const figures = await readdir(join(dir, 'figures'));
  for (const name of [
    'kernel-init.svg',
    'kernel-final-no-attack.csv',
    'loss-no-attack.svg',
    'spectrum-final-no-attack.svg',
    'kernel-spectrum-init.svg',
    'scores-asr.csv',
    'all-metrics.csv',
  ])
    assert.ok(figures.includes(name), name);
});

test('the curves of a training are shown for its cell without a defence alone', async () => {
  const lossOf = async (trainOf?: (cell: number) => string): Promise<string> => {
    const { dir } = await run(
      [],
      [],
      (cell) => (cell === 1 ? { 'defence.defence': 'onion' } : {}),
      trainOf,
    );
    const names = (await readdir(join(dir, 'figures'))).filter((name) => /^loss-.*csv$/.test(name));
    const texts = names.map((name) => readFile(join(dir, 'figures', name), 'utf8'));
    return (await Promise.all(texts)).join('');
  };
  assert.match(await lossOf(), 'LoRA');
  const shared = await lossOf((cell) => `train-${cell === 1 ? 0 : cell}`);
  assert.not.match(shared, 'LoRA');
  assert.match(shared, 'full');
});

test('failed inputs are left out and shown as failed', async () => {
  const failed: StageFacts[] = [
    {
      id: 'train-1',
      kind: 'train',
      cell: {},
      seed: 1,
      inputs: [],
      key: '',
      dir: '',
      seconds: 0,
      backend: null,
      state: 'failed',
      error: 'the loss is not finite at step 3',
    },
    {
      id: 'evaluate-1',
      kind: 'evaluate',
      cell: {},
      seed: 1,
      inputs: ['train-1'],
      key: '',
      dir: '',
      seconds: 0,
      backend: null,
      state: 'blocked',
      error: 'needs train-1',
    },
  ];
  const { html } = await run(['train:1', 'evaluate:1', 'ntk:1', 'fisher:1'], failed);
  assert.equal(rowWith(html, 'no attack', 'LoRA r = 2').slice(2, 4), ['0 (1 failed)', 'failed']);
  assert.match(visible(html), '1 of 3 cells failed');
  assert.match(visible(html), 'the loss is not finite at step 3');
});

test('without a kernel the premise is predicted from the trained adapter’s shapes', async () => {
  const train = await folder({
    'train.json': JSON.stringify({ lora_layers: [{ rank: 2, width: 8, scale: 2 }] }),
  });
  const one = [present(cells[1])];
  const definition = report.define(one, { with: {}, goals: ['train', 'ntk', 'report'] });
  const outDir = await tempFolder();
  await report.run(
    contextOf({
      params: definition.params,
      outDir,
      inputs: { 'train:0': { dir: train, digest: 'sha256:x' as Digest } },
      experiment: experimentOf([{ 'adapter.type': 'lora', 'adapter.rank': 2 }]),
    }),
  );
  // σ² = 1/8, s = 2: s²σ²n = 4, and 4(1 ± ½)² − 1 = 0 and 8.
  const row = rowWith(await readFile(join(outDir, 'report.html'), 'utf8'), 'LoRA r = 2', '8');
  assert.equal(row.slice(6), [
    'not measured',
    'broken',
    '4 broken',
    '[0, +8]',
    'not measured',
    'no (predicted)',
  ]);
});

test('files that axes name are shown without the folders that they share', async () => {
  const source = (cell: number): string => `file:/home/u/${cell === 0 ? 'a' : 'b'}/train.tsv`;
  const { html } = await run([], [], (cell) => ({ 'data.train.source': source(cell) }));
  assert.not.match(html, '/home/u');
  for (const file of ['file:…/a/train.tsv', 'file:…/b/train.tsv']) assert.ok(html.includes(file));
});

test('a plan and an experiment that do not belong together are an internal error', async () => {
  const { params } = define();
  const message = await report.run(contextOf({ params, experiment: experimentOf([]) })).then(
    () => 'nothing was wrong',
    (error: unknown) => String(error),
  );
  assert.match(message, 'the experiment has 0 cells, but the report was planned for 3');
});

test.run();
