import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import parquet from '../../../plugins/datasets/parquet.ts';
import { readFiles, readingFault } from './reading.ts';

const test = suite('parquet');
const golden = (name: string): Uint8Array =>
  readFileSync(new URL(`../../golden/parquet/${name}.parquet`, import.meta.url));
const columns = { text: 'sentence', label: 'label' };

for (const compression of ['snappy', 'gzip']) {
  test(`the rows of every row group, in order, compressed by ${compression}`, async () => {
    assert.equal(
      (await readFiles(parquet, { 'train.parquet': golden(compression) }, { columns })).rows,
      [
        { text: 'hide new secretions', label: '0', place: 'train.parquet:0' },
        { text: 'contains no wit', label: '0', place: 'train.parquet:1' },
        { text: 'café 日本', label: '1', place: 'train.parquet:2' },
        { text: '', label: '1', place: 'train.parquet:3' },
        { text: 'two\nlines', label: '0', place: 'train.parquet:4' },
      ],
    );
  });
}

test('a missing column, a damaged file and an unknown compression are reported', async () => {
  const fault = await readingFault(parquet, { 'train.parquet': golden('snappy') });
  assert.is(
    fault.message,
    'train.parquet has no column "text"; its columns are "idx", "sentence", "label".',
  );
  assert.equal(fault.path, ['columns', 'text']);
  assert.match(
    (await readingFault(parquet, { 'a.parquet': 'text\tlabel\n' }, { columns })).message,
    'a.parquet could not be read as Parquet',
  );
  assert.match(
    (await readingFault(parquet, { 'a.parquet': golden('snappy').subarray(0, 400) }, { columns }))
      .message,
    'could not be read as Parquet',
  );
  assert.match(
    (await readingFault(parquet, { 'a.parquet': golden('zstd') }, { columns })).message,
    'could not be read as Parquet',
  );
});

test.run();
