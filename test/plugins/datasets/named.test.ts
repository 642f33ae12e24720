/** Named data sets in the layouts of their files. All rows are made up. */
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import agNews from '../../../plugins/datasets/ag-news.ts';
import alpaca from '../../../plugins/datasets/alpaca.ts';
import cola from '../../../plugins/datasets/cola.ts';
import hsol from '../../../plugins/datasets/hsol.ts';
import imdb from '../../../plugins/datasets/imdb.ts';
import mnli from '../../../plugins/datasets/mnli.ts';
import mismatched from '../../../plugins/datasets/mnli-mismatched.ts';
import mrpc from '../../../plugins/datasets/mrpc.ts';
import qnli from '../../../plugins/datasets/qnli.ts';
import qqp from '../../../plugins/datasets/qqp.ts';
import rte from '../../../plugins/datasets/rte.ts';
import sst2 from '../../../plugins/datasets/sst2.ts';
import sst5 from '../../../plugins/datasets/sst5.ts';
import trec from '../../../plugins/datasets/trec.ts';
import wnli from '../../../plugins/datasets/wnli.ts';
import type { DatasetDescriptor } from '../../../src/api.ts';
import { readFiles, readingFault } from './reading.ts';

const test = suite('named data sets');
const tsv = (...lines: readonly (readonly string[])[]): string =>
  lines.map((fields) => `${fields.join('\t')}\n`).join('');
const jsonl = (...records: readonly object[]): string =>
  records.map((record) => `${JSON.stringify(record)}\n`).join('');
/** The rows, without their places. */
const read = async (dataset: DatasetDescriptor, name: string, content: string) =>
  (await readFiles(dataset, { [name]: content })).rows.map(({ place: _place, ...row }) => row);

test('a TSV of GLUE has no quoting, and CoLA has no header', async () => {
  const lines = tsv(['gj04', '1', '', 'He said "hi.'], ['gj04', '0', '*', 'Him said " hi.']);
  const rows = [
    { text: 'He said "hi.', label: 'acceptable' },
    { text: 'Him said " hi.', label: 'unacceptable' },
  ];
  assert.equal(await read(cola, 'train.tsv', lines), rows);
  const ofHub = rows.map(({ text }, idx) => ({ sentence: text, label: 1 - idx, idx }));
  assert.equal(await read(cola, 'train.jsonl', jsonl(...ofHub)), rows);
});

test('SST-2 is read from TSV and from records', async () => {
  const rows = [
    { text: 'a "great" film ', label: 'positive' },
    { text: 'dull', label: 'negative' },
  ];
  const file = tsv(['sentence', 'label'], ['a "great" film ', '1'], ['dull', '0']);
  assert.equal(await read(sst2, 'dev.tsv', file), rows);
  const records = [
    { sentence: 'a "great" film ', label: 1 },
    { sentence: 'dull', label: 0 },
  ];
  assert.equal(await read(sst2, 'dev.jsonl', jsonl(...records)), rows);
});

test('Parquet of the hub has whole numbers for labels, and more columns', async () => {
  const parquet = readFileSync(new URL('../../golden/parquet/snappy.parquet', import.meta.url));
  const { rows } = await readFiles(sst2, { 'sst2/train-00000-of-00001.parquet': parquet }, {}, '.');
  assert.equal(
    rows.map(({ text, label }) => [text, label]),
    [
      ['hide new secretions', 'negative'],
      ['contains no wit', 'negative'],
      ['café 日本', 'positive'],
      ['', 'positive'],
      ['two\nlines', 'negative'],
    ],
  );
});

test("MRPC and QQP have the names of their TSV, or the hub's", async () => {
  const pair = { text: 'One.', text_pair: '"Uno".' };
  assert.equal(
    await read(
      mrpc,
      'train.tsv',
      `\ufeff${tsv(
        ['Quality', '#1 ID', '#2 ID', '#1 String', '#2 String'],
        ['1', '7', '8', 'One.', '"Uno".'],
      )}`,
    ),
    [{ ...pair, label: 'equivalent' }],
  );
  const names = { sentence1: 'One.', sentence2: '"Uno".', label: 0, idx: 0 };
  assert.equal(await read(mrpc, 'train.jsonl', jsonl(names)), [
    { ...pair, label: 'not_equivalent' },
  ]);
  const questions = { question1: 'One.', question2: '"Uno".', label: 1, idx: 0 };
  assert.equal(await read(qqp, 'train.jsonl', jsonl(questions)), [{ ...pair, label: 'duplicate' }]);
});

test('lines of QQP with too few fields are left out and counted', async () => {
  const header = ['id', 'qid1', 'qid2', 'question1', 'question2', 'is_duplicate'];
  const file = tsv(
    header,
    ['1', '2', '3', 'a?', 'b?', '0'],
    ['4', '5', 'c?'],
    ['6', '7', '8', 'd?', 'e?', '1'],
  );
  const { rows, facts } = await readFiles(qqp, { 'train.tsv': file });
  assert.equal(
    rows.map(({ text, label, place }) => [text, label, place]),
    [
      ['a?', 'not_duplicate', 'train.tsv:2'],
      ['d?', 'duplicate', 'train.tsv:4'],
    ],
  );
  assert.equal(facts, { ragged_lines: 1 });
  const parts = {
    'qqp/train-00000-of-00003.tsv': file,
    'qqp/train-00001-of-00003.tsv': file,
    'qqp/train-00002-of-00003.tsv': tsv(header, ['1', '2', '3', 'a?', 'b?', '0']),
  };
  assert.equal((await readFiles(qqp, parts, {}, '.')).facts, { ragged_lines: 2 });
  const { message } = await readingFault(sst2, { 'a.tsv': 'sentence\tlabel\nx\n' });
  assert.match(message, 'a.tsv:2 has 1 field where the header has 2.');
});

test('the label of MNLI is that on which its annotators agreed', async () => {
  const file = tsv(
    ['index', 'sentence1', 'sentence2', 'label1', 'label2', 'gold_label'],
    ['0', 'p', 'h', 'neutral', 'entailment', 'neutral'],
  );
  const rows = [{ text: 'p', text_pair: 'h', label: 'neutral' }];
  assert.equal(await read(mnli, 'dev_matched.tsv', file), rows);
  const ofHub = jsonl({ premise: 'p', hypothesis: 'h', label: 1, idx: 0 });
  assert.equal(await read(mismatched, 'validation_mismatched.jsonl', ofHub), rows);
});

test('QNLI, RTE and WNLI count their classes in another order', async () => {
  const question = [
    ['index', 'question', 'sentence', 'label'],
    ['0', 'q', 's', 'entailment'],
  ];
  const entailed = [{ text: 'q', text_pair: 's', label: 'entailment' }];
  assert.equal(await read(qnli, 'dev.tsv', tsv(...question)), entailed);
  assert.equal(
    await read(qnli, 'dev.jsonl', jsonl({ question: 'q', sentence: 's', label: 0 })),
    entailed,
  );
  const record = jsonl({ sentence1: 'q', sentence2: 's', label: 0, idx: 3 });
  assert.equal(await read(rte, 'a.jsonl', record), entailed);
  assert.equal(await read(wnli, 'a.jsonl', record), [
    { text: 'q', text_pair: 's', label: 'not_entailment' },
  ]);
});

test('an article of AG News is its title and its description', async () => {
  const row = { text: 'A title And, a text', label: 'Sports' };
  assert.equal(await read(agNews, 'train.csv', '"2","A title","And, a text"\n'), [row]);
  const titled = 'Class Index,Title,Description\n2,A title,"And, a text"\n';
  assert.equal(await read(agNews, 'train.csv', titled), [row]);
  assert.equal(await read(agNews, 'train.jsonl', jsonl({ text: row.text, label: 1 })), [row]);
});

test('IMDB, SST-5, TREC and HSOL are read', async () => {
  const good = { text: 'Good, <br />good', label: 'positive' };
  assert.equal(await read(imdb, 'a.jsonl', jsonl({ text: good.text, label: 1 })), [good]);
  const review = 'review,sentiment\n"Good, <br />good",positive\n';
  assert.equal(await read(imdb, 'a.csv', review), [good]);
  assert.equal(
    await read(sst5, 'a.jsonl', jsonl({ text: 'so so', label: 2, label_text: 'neutral' })),
    [{ text: 'so so', label: 'neutral' }],
  );
  assert.equal(
    await read(trec, 'a.jsonl', jsonl({ text: 'Who?', coarse_label: 3, fine_label: 7 })),
    [{ text: 'Who?', label: 'HUM' }],
  );
  const davidson =
    ',count,hate_speech,offensive_language,neither,class,tweet\n0,3,0,3,0,1,"Two\nlines"\n';
  assert.equal(await read(hsol, 'labeled_data.csv', davidson), [
    { text: 'Two\nlines', label: 'offensive_language' },
  ]);
});

test('TREC counted its classes in another order under its first column names', async () => {
  const first = [
    { text: 'How?', 'label-coarse': 0, 'label-fine': 0 },
    { text: 'Where?', 'label-coarse': 5, 'label-fine': 21 },
  ];
  const rows = [
    { text: 'How?', label: 'DESC' },
    { text: 'Where?', label: 'LOC' },
  ];
  assert.equal(await read(trec, 'a.jsonl', jsonl(...first)), rows);
  const now = [
    { text: 'How?', coarse_label: 2, fine_label: 26 },
    { text: 'Where?', coarse_label: 4, fine_label: 32 },
  ];
  assert.equal(await read(trec, 'a.jsonl', jsonl(...now)), rows);
});

test("TREC's published files have a question on each line, after its class", async () => {
  const line = 'DESC:manner How did serfdom develop ?\r\nLOC:other What is its sister\xf0city ?\n';
  const file = { 'train_5500.label': Buffer.from(line, 'latin1') };
  assert.equal((await readFiles(trec, file)).rows, [
    { text: 'How did serfdom develop ?', label: 'DESC', place: 'train_5500.label:1' },
    { text: 'What is its sister city ?', label: 'LOC', place: 'train_5500.label:2' },
  ]);
  const { message } = await readingFault(trec, { 'a.label': 'DESC:manner How ?\nWho ?\n' });
  assert.match(message, 'a.label:2 is not a question of TREC after its class.');
});

test('Alpaca is a list of instructions, with an input or without', async () => {
  const list = JSON.stringify([
    { instruction: 'Add.', input: '1, 2', output: '3', text: 'ignored' },
    { instruction: 'Greet.', input: '', output: 'Hello' },
  ]);
  assert.equal(await read(alpaca, 'alpaca_data.json', list), [
    { text: 'Add.\n\n1, 2', answer: '3' },
    { text: 'Greet.', answer: 'Hello' },
  ]);
});

test('rows without a published label, and files of no known layout, are faults', async () => {
  const hidden = { 'test.jsonl': jsonl({ sentence: 'x', label: -1, idx: 0 }) };
  const unlabelled = await readingFault(sst2, hidden);
  assert.match(unlabelled.message, 'test.jsonl:1 has the label -1, which stands for a label');
  assert.match(unlabelled.hint, 'validation rows');
  const other = await readingFault(mrpc, { 'a.tsv': tsv(['one', 'two'], ['x', '1']) });
  assert.match(other.message, 'a.tsv has no column "sentence1"; its columns are "one", "two".');
  assert.is(
    other.hint,
    'format: mrpc reads the columns sentence1, sentence2, label; the columns #1 String, ' +
      '#2 String, Quality. Another layout is read by the format of its file, with `columns`.',
  );
  assert.equal(other.path, ['source']);
});

test.run();
