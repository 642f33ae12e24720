import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import csv from '../../../plugins/datasets/csv.ts';
import tsv from '../../../plugins/datasets/tsv.ts';
import data from '../../../plugins/stages/data/index.ts';
import type {
  Asset,
  Cell,
  DatasetDescriptor,
  ResolvedSplit,
  RunContext,
  UserFault,
} from '../../../src/api.ts';
import { readDatasetInfo, readRows } from '../../../src/data/rows-file.ts';
import { present } from '../../rig/present.ts';
import { standIn } from '../../rig/stand-in.ts';
import { assetAt, splitOf } from '../datasets/reading.ts';

const test = suite<{ dir: string }>('data stage');
test.before.each((context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'dosimeter-data-'));
});
test.after.each(({ dir }) => rmSync(dir, { recursive: true }));

const readers: { readonly [name: string]: DatasetDescriptor } = { tsv, csv };
const plugin: RunContext['plugin'] = (_kind, name) => readers[name] as never;
const sst = { text: 'sentence', label: 'label' };

function cellOf(
  dir: string,
  train: Partial<ResolvedSplit> = {},
  validation: Partial<ResolvedSplit> = {},
  classes?: readonly [string | number, string | number],
): Cell {
  const split = (file: string, change: Partial<ResolvedSplit>) =>
    splitOf({ source: `file:${join(dir, file)}`, columns: sst, ...change });
  return standIn<Cell>({
    data: {
      train: split('train.tsv', train),
      validation: split('dev.csv', validation),
      ...(classes === undefined ? {} : { classes }),
    },
    head: { type: 'classifier' },
  });
}
const define = (cell: Cell, split: string) => data.define([cell], { with: { split }, goals: [] });
const assetsOf = (definition: ReturnType<typeof define>): { [name: string]: Asset } =>
  Object.fromEntries(
    Object.entries(definition.assets ?? {}).map(([name, uri]) => [
      name,
      assetAt(uri.slice('file:'.length), uri),
    ]),
  );
const preflight = (cell: Cell, split: string) => {
  const definition = define(cell, split);
  return data.preflight!({
    params: definition.params,
    assets: assetsOf(definition),
    backend: 'cpu',
    plugin,
  });
};
async function run(dir: string, cell: Cell, split: string, log: string[] = []): Promise<string> {
  const definition = define(cell, split),
    outDir = join(dir, `out-${split}`);
  mkdirSync(outDir);
  const context: RunContext = {
    params: definition.params,
    assets: assetsOf(definition),
    inputs: {},
    outDir,
    backend: 'cpu',
    signal: new AbortController().signal,
    plugin,
    log: (line) => log.push(line),
    progress: () => undefined,
  };
  await data.run(context);
  return outDir;
}
function write(dir: string): void {
  writeFileSync(join(dir, 'train.tsv'), 'sentence\tlabel\ngood\tpos\nbad\tneg\nso so\tmixed\n');
  writeFileSync(join(dir, 'dev.csv'), 'label,sentence\npos,"fine, really"\nneg,poor\n');
}

test("both splits, with the training file's classes", async ({ dir }) => {
  write(dir);
  const cell = cellOf(dir, { limit: 2 });
  assert.equal(await preflight(cell, 'train'), []);
  assert.equal(await preflight(cell, 'validation'), []);
  const train = await run(dir, cell, 'train'),
    validation = await run(dir, cell, 'validation');
  assert.equal(await readRows(train), [
    { id: 'train-000000', text: 'good', label: 2 },
    { id: 'train-000001', text: 'bad', label: 1 },
  ]);
  assert.equal(await readRows(validation), [
    { id: 'validation-000000', text: 'fine, really', label: 2 },
    { id: 'validation-000001', text: 'poor', label: 1 },
  ]);
  const info = await readDatasetInfo(validation);
  assert.equal([info.classes, info.rows, info.counts], [['mixed', 'neg', 'pos'], 2, [0, 1, 1]]);
});

test('hold_out: splits that could have a row in common are a fault at its place', ({ dir }) => {
  write(dir);
  const one = (hold_out: object | null, more: object = {}): Partial<ResolvedSplit> =>
    ({
      source: `file:${join(dir, 'train.tsv')}`,
      ...more,
      ...(hold_out && { hold_out }),
    }) as Partial<ResolvedSplit>;
  const rest = { share: 0.2, take: 'rest' },
    held = { share: 0.2, take: 'held' };
  const fault = (
    train: Partial<ResolvedSplit>,
    validation: Partial<ResolvedSplit>,
  ): readonly [string, string] | null => {
    const cell = cellOf(dir, train, validation);
    define(cell, 'train');
    try {
      define(cell, 'validation');
      return null;
    } catch (error) {
      const { message, path } = error as UserFault;
      assert.match(message, /validation rows could be training rows/);
      return [present(path).join('.'), message];
    }
  };
  assert.is(fault(one(rest), one(held)), null);
  assert.is(fault(one(held, { limit: 2 }), one(rest, { limit: 2 })), null);
  assert.is(fault(one(null), one(null)), null);
  assert.is(fault(one(rest), {}), null, 'two sources have no row in common to begin with');
  for (const [train, validation, place, message] of [
    [one(rest), one(rest), 'data.validation.hold_out.take', /both take the same part/],
    [one(held), one(held), 'data.train.hold_out.take', /both take the same part/],
    [one(rest), one(null), 'data.validation', /only data\.train has a hold_out/],
    [one(null), one(held), 'data.train', /only data\.validation has a hold_out/],
    [
      one(rest),
      one({ ...held, share: 0.3 }),
      'data.validation.hold_out.share',
      /differs \(0\.2 and 0\.3\)/,
    ],
    [one(rest), one(held, { limit: 2 }), 'data.validation.limit', /data\.validation\.limit differ/],
    [
      one(rest, { offset: 1 }),
      one(held),
      'data.validation.offset',
      /data\.validation\.offset differ/,
    ],
    [
      one(rest),
      one(held, { balance: true }),
      'data.validation.balance',
      /data\.validation\.balance differ/,
    ],
    [
      one(rest),
      one(held, { sample: { rows: 2, seed: 0 } }),
      'data.validation.sample',
      /data\.validation\.sample differ/,
    ],
    [
      one(rest),
      one(held, { header: false }),
      'data.validation.header',
      /data\.validation\.header differ/,
    ],
    [
      one(rest),
      one(held, { format: 'csv' }),
      'data.validation.format',
      /data\.validation\.format differ/,
    ],
    [
      one(rest),
      one(held, { columns: { text: 'label', label: 'sentence' } }),
      'data.validation.columns',
      /data\.validation\.columns differ/,
    ],
  ] as const) {
    const found = fault(train, validation);
    assert.is(found?.[0], place);
    assert.match(present(found)[1], message);
  }
});

test('columns by number: the spec must say whether the first line is a row', async ({ dir }) => {
  write(dir);
  const numbers = { columns: { text: 0, label: 1 } },
    dev = { columns: { text: 1, label: 0 } };
  const open = (
    split: string,
    ...changes: object[]
  ): readonly [string, readonly string[]] | null => {
    const cell = cellOf(dir, ...changes);
    // Removes `header`, as in a cell whose spec does not set it.
    for (const one of ['train', 'validation'] as const)
      if (!('header' in (changes[one === 'train' ? 0 : 1] ?? {})))
        delete (cell.data[one] as { header?: boolean }).header;
    try {
      define(cell, split);
      return null;
    } catch (error) {
      const { message, path } = error as UserFault;
      return [message, path as readonly string[]];
    }
  };
  const fault = (split: string) => [
    `data.${split}.columns are numbers, and nothing says whether the first line of the file ` +
      'names its columns or is a row',
    ['data', split, 'columns'],
  ];
  assert.equal(open('train', numbers), fault('train'));
  assert.equal(open('validation', {}, dev), fault('validation'));
  assert.equal(open('validation', numbers), fault('train'), 'the classes are read from it');
  assert.is(open('train', { columns: { text: 0, label: 'label' } }), null);
  assert.is(open('train', { ...numbers, header: true }), null);
  assert.is(open('train', { ...numbers, format: 'jsonl' }), null, 'no table');

  const log: string[] = [];
  const all = await run(dir, cellOf(dir, { ...numbers, header: true }), 'train', log);
  assert.is((await readDatasetInfo(all)).rows, 3);
  assert.ok(
    log.includes(
      'train: the first line, ["sentence","label"], names the columns ' +
        'and is not a row (header: true)',
    ),
  );
  assert.equal(
    (JSON.parse(readFileSync(join(all, 'provenance.json'), 'utf8')) as { header: unknown }).header,
    ['sentence', 'label'],
  );
  rmSync(all, { recursive: true });
  const rows = await run(dir, cellOf(dir, { ...numbers, header: false }), 'train', log);
  assert.is((await readDatasetInfo(rows)).rows, 4, 'the first line too');
  const csvLog: string[] = [];
  await run(dir, cellOf(dir, {}, { ...dev, header: true }), 'validation', csvLog);
  assert.match(csvLog.join('\n'), /the first line, \["label","sentence"\]/);
});

test('a row beyond the limit changes nothing that later stages see', async ({ dir }) => {
  write(dir);
  const cell = cellOf(dir, { limit: 2 });
  const seen = async (): Promise<Record<string, string>> => {
    const out = await run(dir, cell, 'train'),
      files = readdirSync(out).filter((name) => !present(data.volatile).includes(name));
    const texts = Object.fromEntries(
      files.map((name) => [name, readFileSync(join(out, name), 'utf8')]),
    );
    rmSync(out, { recursive: true });
    return texts;
  };
  const before = await seen();
  assert.equal(Object.keys(before).sort(), ['dataset.json', 'rows.jsonl']);
  writeFileSync(
    join(dir, 'train.tsv'),
    `${readFileSync(join(dir, 'train.tsv'), 'utf8').replace('so so', 'so la')}one more\tneg\n`,
  );
  assert.equal(await seen(), before);
});

test('nothing of where the file lies gets into what later stages see', async ({ dir }) => {
  write(dir);
  const out = await run(dir, cellOf(dir), 'train');
  assert.not.match(readFileSync(join(out, 'dataset.json'), 'utf8'), dir);
});

test('it reads what its split needs, and training labels only where no classes are given', ({
  dir,
}) => {
  const key = (cell: Cell, split: string): unknown => {
    const { params, assets, uses } = define(cell, split);
    return { params, assets, uses };
  };
  const base = cellOf(dir);
  assert.equal(key(cellOf(dir, {}, { limit: 5 }), 'train'), key(base, 'train'));
  assert.equal(key(cellOf(dir, { limit: 5 }), 'validation'), key(base, 'validation'));
  assert.not.equal(key(cellOf(dir, { limit: 5 }), 'train'), key(base, 'train'));
  assert.equal(Object.keys(present(define(base, 'validation').assets)), ['data', 'train']);
  assert.equal(define(base, 'validation').uses, [
    { kind: 'dataset', name: 'csv' },
    { kind: 'dataset', name: 'tsv' },
  ]);
  const fixed = cellOf(dir, {}, {}, ['neg', 'pos']);
  assert.equal(Object.keys(present(define(fixed, 'validation').assets)), ['data']);
  assert.equal(
    key(cellOf(dir, {}, { classes: ['neg', 'pos'] }), 'validation'),
    key(fixed, 'validation'),
  );
  assert.equal(define(cellOf(dir, { source: 'hf:glue/sst2' }), 'train').assets, {
    data: 'hf:datasets/glue/sst2',
  });
});

test('faults are found before anything runs, each at its field', async ({ dir }) => {
  write(dir);
  const first = async (cell: Cell, split: string) => present((await preflight(cell, split))[0]);
  const column = await first(
    cellOf(dir, { columns: { text: 'sentense', label: 'label' } }),
    'train',
  );
  assert.equal(column, {
    path: ['data', 'train', 'columns', 'text'],
    message: 'train.tsv has no column "sentense"; its columns are "sentence", "label".',
    hint: 'Did you mean "sentence"?',
  });
  // The same fault, seen from the validation split that takes its classes from there.
  assert.equal(
    await first(cellOf(dir, { columns: { text: 'sentence', label: 'lable' } }), 'validation').then(
      ({ path }) => path,
    ),
    ['data', 'train', 'columns', 'label'],
  );
  assert.match(
    (await first(cellOf(dir, {}, {}, ['pos', 'neg']), 'train')).message,
    'train.tsv:4: the label "mixed" is not one of the classes "pos", "neg".',
  );
  assert.equal((await first(cellOf(dir, {}, { offset: 2 }), 'validation')).path, [
    'data',
    'validation',
    'offset',
  ]);
  const twice = await first(
    cellOf(dir, { classes: ['pos', 'neg'] }, { classes: ['neg', 'pos'] }),
    'train',
  );
  assert.equal(twice, {
    path: ['data'],
    message: 'The classes are given twice and differ: [pos, neg] and [neg, pos].',
    hint: 'Give them once, as `data.classes`.',
  });
  writeFileSync(join(dir, 'train.tsv'), '');
  assert.equal((await first(cellOf(dir), 'train')).path, ['data', 'train', 'source']);
});

test('pairs in one split and single texts in the other', ({ dir }) => {
  const pairs: Partial<ResolvedSplit> = { columns: { ...sst, text_pair: 'premise' } };
  const fault = (cell: Cell): unknown => {
    try {
      define(cell, 'validation');
      return null;
    } catch (error) {
      const { name, message, hint, path } = error as UserFault;
      return { name, message, hint, path };
    }
  };
  assert.equal(fault(cellOf(dir, pairs)), {
    name: 'UserFault',
    message: 'data.train has pairs of texts (columns.text_pair), data.validation has single texts',
    hint: 'Write columns.text_pair for data.validation too, or for neither.',
    path: ['data', 'validation', 'columns'],
  });
  assert.equal((fault(cellOf(dir, {}, pairs)) as UserFault).path, ['data', 'train', 'columns']);
  assert.is(fault(cellOf(dir, pairs, pairs)), null);
  assert.is(fault(cellOf(dir)), null);
});

test('a corpus of a package is not read in the preflight', async ({ dir }) => {
  const corpus: DatasetDescriptor = {
    kind: 'dataset',
    name: 'corpus',
    summary: '',
    unordered: true,
    matches: () => false,
    read: () => {
      throw new Error('read');
    },
  };
  const definition = define(cellOf(dir, { format: 'corpus' }), 'train');
  assert.equal(
    await data.preflight!({
      params: definition.params,
      assets: assetsOf(definition),
      backend: 'cpu',
      plugin: () => corpus as never,
    }),
    [],
  );
});

test('the test rows are a split of their own, checked like the validation rows', async ({
  dir,
}) => {
  write(dir);
  writeFileSync(join(dir, 'test.tsv'), 'sentence\tlabel\nfine\tpos\n');
  const withTest = (change: Partial<ResolvedSplit> = {}): Cell => {
    const cell = cellOf(dir);
    const split = splitOf({ source: `file:${join(dir, 'test.tsv')}`, columns: sst, ...change });
    return { ...cell, data: { ...cell.data, test: split } };
  };
  assert.equal(await readRows(await run(dir, withTest(), 'test')), [
    { id: 'test-000000', text: 'fine', label: 2 },
  ]);
  const faultOf = (cell: Cell): readonly [string, string] => {
    try {
      define(cell, 'test');
    } catch (error) {
      const { message, path } = error as UserFault;
      return [present(path).join('.'), message];
    }
    throw new Error('no fault was raised');
  };
  assert.equal(faultOf(cellOf(dir)), ['data', 'the spec has no data.test']);
  const pairs = withTest({ columns: { ...sst, text_pair: 'label' } });
  assert.match(faultOf(pairs)[1], 'data.test has pairs of texts');
  const part = { share: 0.2, take: 'held' } as const;
  const same = withTest({ source: `file:${join(dir, 'train.tsv')}`, hold_out: part });
  assert.match(faultOf(same)[1], 'test rows could be training rows');
});

test.run();
