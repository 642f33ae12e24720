import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import data from '../../../plugins/stages/data/index.ts';
import type { Cell, DatasetDescriptor, Warning } from '../../../src/api.ts';
import { readDatasetInfo, readRows } from '../../../src/data/rows-file.ts';
import { present } from '../../rig/present.ts';
import {
  cellOf,
  dataSuite,
  define,
  planFault,
  preflight,
  run,
  runData,
  writeSplits,
} from './data-rig.ts';

const test = dataSuite('data stage');

test("both splits, with the training file's classes", async ({ dir }) => {
  writeSplits(dir);
  const cell = cellOf(dir, { limit: 2 });
  assert.equal(await preflight(define(cell, 'train')), []);
  assert.equal(await preflight(define(cell, 'validation')), []);
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

test('columns by number: the spec must say whether the first line is a row', async ({ dir }) => {
  writeSplits(dir);
  const numbers = { columns: { text: 0, label: 1 } },
    dev = { columns: { text: 1, label: 0 } };
  const open = (split: string, ...changes: object[]): readonly [string, string] | null => {
    const cell = cellOf(dir, ...changes);
    // Removes `header`, as in a cell whose spec does not set it.
    for (const one of ['train', 'validation'] as const)
      if (!('header' in (changes[one === 'train' ? 0 : 1] ?? {})))
        delete (cell.data[one] as { header?: boolean }).header;
    const found = planFault(() => define(cell, split));
    return found && [found.message, found.path];
  };
  const fault = (split: string) => [
    `data.${split}.columns are numbers, and nothing says whether the first line of the file ` +
      'names its columns or is a row',
    `data.${split}.columns`,
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
  writeSplits(dir);
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
  writeSplits(dir);
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
  writeSplits(dir);
  const first = async (cell: Cell, split: string) =>
    present((await preflight(define(cell, split)))[0]);
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
  assert.equal(
    planFault(() => define(cellOf(dir, {}, {}, [1, '1']), 'train')),
    {
      message: 'the classes name "1" twice: a number is the name that it is written as',
      hint: 'Name every class once.',
      path: 'data.classes',
    },
  );
  writeFileSync(join(dir, 'train.tsv'), '');
  assert.equal((await first(cellOf(dir), 'train')).path, ['data', 'train', 'source']);
});

test('a column with nearly as many labels as rows is told, and its classes are not all logged', async ({
  dir,
}) => {
  const write = (label: (row: number) => string): void =>
    writeFileSync(
      join(dir, 'train.tsv'),
      `sentence\tlabel\n${Array.from({ length: 60 }, (_, row) => `row ${row}\t${label(row)}\n`).join('')}`,
    );
  write((row) => `label ${row % 40}`);
  const cell = cellOf(dir, { limit: 20 });
  assert.equal(await preflight(define(cell, 'train')), [
    {
      path: ['data', 'train', 'columns', 'label'],
      message: 'the column "label" has 40 different values in 60 rows, and each becomes a class',
      hint: "Is this the label's column?",
      warning: true,
    },
  ]);
  const log: string[] = [];
  await run(dir, cell, 'train', log);
  assert.match(log[0] ?? '', /^train: 20 rows \((1 label \d+, ){7}[^,]* and 32 more\) of 60 from /);
  write((row) => `label ${row % 30}`);
  assert.equal(await preflight(define(cellOf(dir, { limit: 21 }), 'train')), []);
});

test('what a reader of numbers must know of the rows is told before they are read, and then', async ({
  dir,
}) => {
  writeFileSync(
    join(dir, 'train.tsv'),
    'sentence\tlabel\ngood\tham\n\tHam\n \tham\nbad\tspam\n\tspam\n\tspam\n',
  );
  writeFileSync(join(dir, 'dev.csv'), 'label,sentence\nham,fine\nham,poor\n');
  const cell = cellOf(dir);
  const told = [
    {
      path: ['data', 'train', 'columns', 'label'],
      message:
        'labels that differ in case alone are classes of their own: ' +
        '"ham" has U+0068 where "Ham" has U+0048',
      hint: 'Write them alike in the file, or name every class in `data.classes`.',
    },
    {
      path: ['data', 'train', 'columns'],
      message:
        '4 of 6 train rows have an empty text: train-000001 (train.tsv:3), ' +
        'train-000002 (train.tsv:4), train-000004 (train.tsv:6) and 1 more',
      hint: 'Fill them in or leave them out of the file, or read another column.',
    },
  ];
  assert.equal(
    await preflight(define(cell, 'train')),
    told.map((warning) => ({ ...warning, warning: true })),
  );
  const warned: Warning[] = [];
  await runData(define(cell, 'train'), join(dir, 'out'), { warned });
  assert.equal(warned, told);
  assert.equal(
    (await preflight(define(cell, 'validation'))).map(({ message }) => message),
    ['all 2 validation rows are of one class'],
  );
});

test('rows of one text under two labels are warned of', async ({ dir }) => {
  const rows = ['A good film\tpos', 'a  good film\tneg', 'a bad film\tneg', 'a bad film\tneg'];
  writeFileSync(join(dir, 'train.tsv'), `sentence\tlabel\n${rows.join('\n')}\n`);
  assert.equal(await preflight(define(cellOf(dir), 'train')), [
    {
      path: ['data', 'train', 'columns'],
      message:
        '2 of 4 train rows have a text that also has another label: ' +
        'train-000000 (train.tsv:2), train-000001 (train.tsv:3)',
      hint: 'Keep one row of each text, or read another column.',
      warning: true,
    },
  ]);
});

test('labels that are the same number, and missing ones, are warned of', async ({ dir }) => {
  const messages = async (...labels: readonly string[]): Promise<readonly string[]> => {
    const rows = labels.map((label, i) => `row ${i}\t${label}\n`).join('');
    const file = join(dir, `${labels.join('-').replaceAll('/', '')}.tsv`);
    writeFileSync(file, `sentence\tlabel\n${rows}`);
    const cell = cellOf(dir, { source: `file:${file}` });
    return (await preflight(define(cell, 'train'))).map(({ message }) => message);
  };
  assert.equal(await messages('0', '1', '1.0', '10'), [
    'labels that are the same number are classes of their own: ' +
      '"1.0" has U+002E U+0030 where "1" has nothing',
  ]);
  const missing = ', which looks like a label that is missing, is a class of its own',
    several = ', which look like labels that are missing, are classes of their own';
  assert.equal(await messages('0', '', '1'), [`""${missing}`]);
  assert.equal(await messages('ham', 'NaN', 'spam'), [`"NaN"${missing}`]);
  assert.equal(await messages('N/A', 'NA', 'None', '<na>', '#N/A', 'spam'), [
    `"#N/A", "<na>", "N/A", "NA", "None"${several}`,
  ]);
  assert.equal(await messages('nana', '1', '10', 'nano'), []);
});

test('a tab-separated file with quoted fields is noticed, and read as CSV with a delimiter', async ({
  dir,
}) => {
  writeFileSync(
    join(dir, 'train.tsv'),
    'sentence\tlabel\n"She said ""yes"""\tpos\nbad\tneg\n"a\ttab"\tneg\n',
  );
  writeFileSync(join(dir, 'dev.csv'), 'label,sentence\npos,fine\nneg,poor\n');
  const csv = { format: 'csv', delimiter: '\t' };
  assert.equal(
    (await readRows(await run(dir, cellOf(dir, csv), 'train'))).map(({ text }) => text),
    ['She said "yes"', 'bad', 'a\ttab'],
  );
  // The classes of the other rows are read in the same way.
  assert.equal(await preflight(define(cellOf(dir, csv), 'validation')), []);
  const { hint = '' } = (await preflight(define(cellOf(dir), 'train')))[0]!;
  assert.match(hint, 'format: csv with delimiter: "\\t"');
  writeFileSync(join(dir, 'quoted.tsv'), 'sentence\tlabel\n"She said ""yes"""\tpos\nbad\tneg\n');
  const quoted = cellOf(dir, { source: `file:${join(dir, 'quoted.tsv')}` });
  assert.equal(await preflight(define(quoted, 'train')), [
    {
      path: ['data', 'train', 'source'],
      message:
        'fields in double quotes, as CSV has them, in 1 line of data.train: TSV reads the quotes ' +
        'as text',
      hint: 'Write format: csv and delimiter: "\\t" in data.train.',
      warning: true,
    },
  ]);
  // Quotes around every text, but around no number, and perhaps not in the header.
  for (const [name, lines] of [
    ['r.tsv', ['"sentence"\t"label"', '"good"\t1', '"bad"\t0']],
    ['bare.tsv', ['sentence\tlabel', '"good"\t1', '"bad"\t0']],
  ] as const) {
    writeFileSync(join(dir, name), `${lines.join('\n')}\n`);
    const columns = { text: lines[0].split('\t')[0]!, label: lines[0].split('\t')[1]! };
    const texts = cellOf(dir, { source: `file:${join(dir, name)}`, columns });
    const [warning] = await preflight(define(texts, 'train'));
    assert.match(warning?.message ?? '', 'fields in double quotes, as CSV has them', name);
  }
  assert.equal(
    planFault(() => define(cellOf(dir, { delimiter: '\t' }), 'train')),
    {
      message: 'data.train has a delimiter, which is of format csv, and its format is tsv',
      hint: 'Write format: csv in data.train, or leave out the delimiter.',
      path: 'data.train.delimiter',
    },
  );
});

test('a corpus of a package is not read in the preflight', async ({ dir }) => {
  const corpus: DatasetDescriptor = {
    kind: 'dataset',
    name: 'corpus',
    summary: '',
    unordered: true,
    read: () => {
      throw new Error('read');
    },
  };
  const definition = define(cellOf(dir, { format: 'corpus' }), 'train');
  assert.equal(await preflight(definition, () => corpus as never), []);
});

test.run();
