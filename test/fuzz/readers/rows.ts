/** Rows of data sets, and what an attack makes of them. */
import csv from '../../../plugins/datasets/csv.ts';
import jsonl from '../../../plugins/datasets/jsonl.ts';
import parquet from '../../../plugins/datasets/parquet.ts';
import { mailText } from '../../../plugins/datasets/spam-assassin/mail.ts';
import tsv from '../../../plugins/datasets/tsv.ts';
import type { DatasetDescriptor, Row } from '../../../src/api.ts';
import { parseJson } from '../../../src/base/untrusted/json.ts';
import { fromLines } from '../../../src/poisoning/exchange.ts';
import { checkReceipt, makeReceipt } from '../../../src/poisoning/receipt.ts';
import { assetAt, splitOf } from '../../plugins/datasets/reading.ts';
import { asText, file, golden, json, lines, type Reader, texts } from '../reader.ts';

async function drain(
  dataset: DatasetDescriptor,
  dir: string,
  name: string,
  input: Uint8Array,
  split = splitOf(),
): Promise<void> {
  const iterator = dataset.read(assetAt(file(dir, name, input)), split)[Symbol.asyncIterator]();
  while ((await iterator.next()).done !== true);
}

const rows: Row[] = [
  { id: 'a', text: 'one', label: 0 },
  { id: 'b', text: 'two', label: 1 },
];
const changed = {
  changed: [{ index: 0, row: { ...rows[0]!, label: 1 } }],
  negatives: [],
  asked: 1,
  eligible: 2,
};
const poisonedRows = [changed.changed[0]!.row, rows[1]!];

export const ROWS: readonly Reader[] = [
  {
    name: 'tsv',
    seeds: texts('text\tlabel\none\t0\ntwo\t1\n', 'text\tlabel\r\na "b"\t1\r\n'),
    read: (input, dir) => drain(tsv, dir, 'a.tsv', input),
  },
  {
    name: 'csv',
    seeds: texts('text,label\n"one, two",0\n"a ""b""\nc",1\n'),
    read: (input, dir) => drain(csv, dir, 'a.csv', input),
  },
  {
    name: 'jsonl',
    seeds: texts(
      lines({ text: 'one', label: 0 }, { text: 'two', label: '1' }, { text: 'x', label: true }),
    ),
    read: (input, dir) => drain(jsonl, dir, 'a.jsonl', input),
  },
  {
    name: 'parquet',
    seeds: ['snappy', 'gzip'].map((codec) => golden(`parquet/${codec}.parquet`)),
    read: (input, dir) =>
      drain(
        parquet,
        dir,
        'a.parquet',
        input,
        splitOf({ columns: { text: 'sentence', label: 'label' } }),
      ),
  },
  {
    name: 'mail',
    seeds: texts(
      'Subject: =?utf-8?B?aGVsbG8=?=\nContent-Type: text/plain; ' +
        'charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nbody =E4 text\n',
      'Subject: x\nContent-Type: multipart/alternative; boundary="b"\n\n--b\nContent-Type: ' +
        'text/plain\n\nplain\n--b\nContent-Type: ' +
        'text/html\n\n<html><table><tr><td>one</td><td>two</td></tr></table></html>\n--b--\n',
    ),
    read: (input) => mailText(input, 'the mail'),
  },
  {
    name: 'poisoned.jsonl',
    seeds: texts(
      lines({ id: 'a', text: 'other', label: 1 }, rows[1], { id: 'c', text: 'new', label: 0 }),
    ),
    read: (input) => fromLines(rows, asText(input), ['no', 'yes'], 'poisoned.jsonl'),
  },
  {
    name: 'receipt',
    seeds: texts(json(makeReceipt(rows, poisonedRows, changed, 'label-flip', {}, 1))),
    read: (input) =>
      checkReceipt(
        poisonedRows,
        parseJson(asText(input), 'receipt.json') as Parameters<typeof checkReceipt>[1],
      ),
  },
];
