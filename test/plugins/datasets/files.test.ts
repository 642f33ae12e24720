import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import files from '../../../plugins/datasets/files.ts';
import { present } from '../../rig/present.ts';
import { readFiles, readingFault } from './reading.ts';

const test = suite('files of a folder');
const table = (...texts: string[]): string =>
  `text\tlabel\n${texts.map((text) => `${text}\t1\n`).join('')}`;

test('the one data file among others is read, whatever its format', async () => {
  const beside = { 'README.md': '# Data', 'dataset_infos.json': '{}' };
  assert.is(
    (await readFiles(files, { ...beside, 'data/train.tsv': table('a') }, {}, '.')).rows[0]?.place,
    'train.tsv:2',
  );
  assert.is(
    present(
      (await readFiles(files, { ...beside, 'train.csv': 'text,label\nb,1\n' }, {}, '.')).rows[0],
    ).text,
    'b',
  );
  assert.is(
    (await readFiles(files, { ...beside, 'train.jsonl': '{"text":"c","label":1}' }, {}, '.'))
      .rows[0]?.text,
    'c',
  );
  const parquet = readFileSync(new URL('../../golden/parquet/snappy.parquet', import.meta.url));
  assert.is(
    (
      await readFiles(
        files,
        { ...beside, 'train.parquet': parquet },
        { columns: { text: 'sentence', label: 'label' } },
        '.',
      )
    ).rows.length,
    5,
  );
});

test('the parts of one file are read in order', async () => {
  const parts = {
    'data/train-00001-of-00002.tsv': table('c'),
    'data/train-00000-of-00002.tsv': table('a', 'b'),
  };
  assert.equal(
    (await readFiles(files, parts, {}, '.')).rows.map((row) => row.text),
    ['a', 'b', 'c'],
  );
});

test('train and test are never read as one; a glob chooses', async () => {
  const both = {
    'data/train-00000-of-00002.tsv': table('a'),
    'data/train-00001-of-00002.tsv': table('b'),
    'data/validation-00000-of-00001.tsv': table('t'),
  };
  const fault = await readingFault(files, both, {}, '.');
  assert.match(fault.message, 'holds several data files: data/train.tsv, data/validation.tsv.');
  assert.equal(
    (await readFiles(files, both, {}, '.', 'data/train-*.tsv')).rows.map((row) => row.text),
    ['a', 'b'],
  );
});

test('a folder without a readable data file is reported', async () => {
  assert.match(
    (await readingFault(files, { 'model.bin': '' }, {}, '.')).message,
    'holds no data file',
  );
  assert.match(
    (await readingFault(files, { 'model.bin': '' }, {}, '.')).hint,
    'It holds model.bin.',
  );
  const fault = await readingFault(files, { 'train.txt': table('a') });
  assert.equal(
    [fault.message, fault.hint],
    [
      "The format of train.txt can't be told from its ending.",
      'Set `format: tsv`, `csv`, `jsonl` or `parquet`.',
    ],
  );
});

test.run();
