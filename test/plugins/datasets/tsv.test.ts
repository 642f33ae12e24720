import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import tsv from '../../../plugins/datasets/tsv.ts';
import { present } from '../../rig/present.ts';
import { readFiles, readingFault } from './reading.ts';

const test = suite('tsv');

test('TSV is read line by line; quotes are text, and any line end is accepted', async () => {
  const file = '\ufefftext\tlabel\r\nshe said "hi\t0\r\n\r\n"quoted" text\t1\nlast line\t1\r';
  assert.equal((await readFiles(tsv, { 'train.tsv': file })).rows, [
    { text: 'she said "hi', label: '0', place: 'train.tsv:2' },
    { text: '"quoted" text', label: '1', place: 'train.tsv:4' },
    { text: 'last line', label: '1', place: 'train.tsv:5' },
  ]);
});

test('fields that are quoted as CSV quotes them are counted, unless other quotes show none are', async () => {
  const quoted = async (...rows: readonly string[]): Promise<unknown> =>
    (await readFiles(tsv, { 'a.tsv': `text\tlabel\n${rows.join('\n')}\n` })).facts?.[
      'quoted_lines'
    ];
  assert.is(await quoted('"She said ""yes"""\t1', '"""Yes"""\t1', 'no\t0'), 2);
  assert.is(await quoted('"She said ""yes"""\t1', 'five"\t0'), undefined);
  assert.is(await quoted('"a title"\t1', 'no\t0'), undefined);
  const whole = await readFiles(
    tsv,
    { 'a.tsv': '"a"\t"1"\n"b"\t"0"\n' },
    { header: false, columns: { text: 0, label: 1 } },
  );
  assert.equal(whole.facts, { quoted_lines: 2 });
});

test('columns are found by name in any order, or by number without a header', async () => {
  const qnli = 'index\tquestion\tsentence\tlabel\n4\tWho ?\tHe did .\tentailment\n';
  assert.equal(
    (
      await readFiles(
        tsv,
        { 'dev.tsv': qnli },
        { columns: { text: 'question', text_pair: 'sentence', label: 'label' } },
      )
    ).rows,
    [{ text: 'Who ?', text_pair: 'He did .', label: 'entailment', place: 'dev.tsv:2' }],
  );
  const cola = 'gj04\t1\t\tOur friends\nbc01\t0\t*\tThey drank the pub\n';
  assert.equal(
    (await readFiles(tsv, { 'train.tsv': cola }, { header: false, columns: { text: 3, label: 1 } }))
      .rows,
    [
      { text: 'Our friends', label: '1', place: 'train.tsv:1' },
      { text: 'They drank the pub', label: '0', place: 'train.tsv:2' },
    ],
  );
  assert.is(
    present(
      (await readFiles(tsv, { 'dev.tsv': qnli }, { columns: { text: 1, label: 'label' } })).rows[0],
    ).text,
    'Who ?',
  );
});

test('a missing column is reported with those that there are and the nearest', async () => {
  const sst = 'sentence\tlabel\ngood\t1\n';
  assert.equal(
    await readingFault(
      tsv,
      { 'train.tsv': sst },
      { columns: { text: 'sentense', label: 'label' } },
    ),
    {
      message: 'train.tsv has no column "sentense"; its columns are "sentence", "label".',
      hint: 'Did you mean "sentence"?',
      path: ['columns', 'text'],
    },
  );
  assert.match(
    (await readingFault(tsv, { 'train.tsv': sst }, { columns: { text: 'sentence', label: 'y' } }))
      .hint,
    'Set `columns.label`.',
  );
  assert.match(
    (await readingFault(tsv, { 'train.tsv': sst }, { columns: { text: 2, label: 1 } })).message,
    'has no column 2: it has 2, numbered from 0 to 1',
  );
  assert.match(
    (await readingFault(tsv, { 'train.tsv': sst }, { header: false })).message,
    'read without a header, so its columns have no names such as "text"',
  );
  assert.match(
    (
      await readingFault(
        tsv,
        { 'train.tsv': 'label\tlabel\tt\na\tb\tc\n' },
        { columns: { text: 't', label: 'label' } },
      )
    ).message,
    'two columns called "label"',
  );
});

test('a line with another number of fields is reported with its place', async () => {
  assert.match(
    (await readingFault(tsv, { 'train.tsv': 'text\tlabel\ngood\t1\nbad\ttab\t0\n' })).message,
    'train.tsv:3 has 3 fields where the header has 2.',
  );
  assert.match(
    (
      await readingFault(
        tsv,
        { 'train.tsv': 'good\t1\nbad\n' },
        { header: false, columns: { text: 0, label: 1 } },
      )
    ).message,
    'train.tsv:2 has 1 field where the first line has 2.',
  );
});

test('bytes that are not UTF-8 are reported, not replaced', async () => {
  const bytes = Buffer.concat([
    Buffer.from('text\tlabel\ncaf'),
    Buffer.from([0xe9]),
    Buffer.from('\t1\n'),
  ]);
  assert.match((await readingFault(tsv, { 'train.tsv': bytes })).message, 'train.tsv is not UTF-8');
});

test('a character that lies across two chunks stays whole', async () => {
  const rows = Array.from(
    { length: 9000 },
    (_, i) => `${'日本'.repeat(3 + (i % 5))}${i}\t${i % 2}`,
  );
  const read = (await readFiles(tsv, { 'train.tsv': `text\tlabel\n${rows.join('\n')}\n` })).rows;
  assert.equal(
    read.map((row) => `${row.text}\t${row.label}`),
    rows,
  );
  assert.is(read.at(-1)?.place, 'train.tsv:9001');
});

test.run();
