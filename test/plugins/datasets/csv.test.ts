import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import csv from '../../../plugins/datasets/csv.ts';
import { readFiles, readingFault } from './reading.ts';

const test = suite('csv');

test('CSV is read as RFC 4180 defines it, each row with the line it begins on', async () => {
  const file =
    '\ufefflabel,text\r\n1,"Hello, ""world"""\r\n0,"two\nlines, one field"\r\n\r\n1, spaces ' +
    'are text \r\n0,""\r\n';
  assert.equal((await readFiles(csv, { 'a.csv': file })).rows, [
    { text: 'Hello, "world"', label: '1', place: 'a.csv:2' },
    { text: 'two\nlines, one field', label: '0', place: 'a.csv:3' },
    { text: ' spaces are text ', label: '1', place: 'a.csv:6' },
    { text: '', label: '0', place: 'a.csv:7' },
  ]);
});

test('a CRLF within quotes is one line', async () => {
  const file = 'label,text\r\npos,"a\r\nb\r\n\r\nc"\r\nneg,"d\r\ne\nf"\r\n\r\npos,g\r\n';
  assert.equal(
    (await readFiles(csv, { 'a.csv': file })).rows.map(({ place }) => place),
    ['a.csv:2', 'a.csv:6', 'a.csv:10'],
  );
  const { message } = await readingFault(csv, { 'a.csv': `${file}neg,"never closed\r\nx\r\n` });
  assert.match(message, /^a\.csv:11 is not CSV: Quote Not Closed/);
  assert.not.match(message, /line \d/);
});

test('lines may end differently within a file', async () => {
  const file = 'label,text\npos,good\r\nneg,"bad\r\nand\nlong"\r\n"pos","x"\nneg,y\r';
  assert.equal(
    (await readFiles(csv, { 'a.csv': file })).rows.map(({ label, text }) => [label, text]),
    [
      ['pos', 'good'],
      ['neg', 'bad\r\nand\nlong'],
      ['pos', 'x'],
      ['neg', 'y'],
    ],
  );
});

test('without a header, columns have numbers', async () => {
  assert.equal(
    (
      await readFiles(
        csv,
        { 'a.csv': '3,good\n1,"bad, really"\n' },
        { header: false, columns: { text: 1, label: 0 } },
      )
    ).rows.map((row) => [row.label, row.text]),
    [
      ['3', 'good'],
      ['1', 'bad, really'],
    ],
  );
});

test('a file that is not CSV is reported with the line', async () => {
  assert.match(
    (await readingFault(csv, { 'a.csv': 'text,label\nok,1\nsay "hi",0\n' })).message,
    /^a\.csv:3 is not CSV/,
  );
  const { message } = await readingFault(csv, {
    'a.csv': `text,label\n${'x'.repeat(5000)}"y",0\n`,
  });
  assert.ok(message.length < 300, 'the field that is quoted is cut');
  assert.match(
    (await readingFault(csv, { 'a.csv': 'text,label\n"never closed,1\n' })).message,
    /^a\.csv:2 is not CSV/,
  );
  assert.match(
    (await readingFault(csv, { 'a.csv': 'text,label\nok,1\nan, extra comma,0\n' })).message,
    'a.csv:3 has 3 fields where the header has 2.',
  );
  assert.match(
    (await readingFault(csv, { 'a.csv': 'txt,label\nok,1\n' })).hint,
    'Did you mean "txt"?',
  );
  assert.match(
    (await readingFault(csv, { 'a.csv': Buffer.from([0x74, 0xff, 0x0a]) })).message,
    'not UTF-8',
  );
});

test('a file with another delimiter is reported with the field that names it', async () => {
  const hint = 'If ";" stands between its fields, write format: csv and delimiter: ";".';
  const semicolons = { 'train.csv': 'ticket;team\nwhere is it;sales\n' };
  for (const columns of [
    { text: 'ticket', label: 'team' },
    { text: 0, label: 1 },
  ])
    assert.is((await readingFault(csv, semicolons, { columns })).hint, hint);
  const tabs = await readingFault(csv, { 'train.csv': 'text\tlabel\n' });
  assert.match(tabs.hint, 'delimiter: "\\t"');
});

test('prompts and answers by name or by number; a conversation does not fit a table', async () => {
  const file = { 'a.csv': 'q,a\n"Two, and two?",4\n' };
  const row = { text: 'Two, and two?', answer: '4', place: 'a.csv:2' };
  for (const columns of [
    { prompt: 'q', answer: 'a' },
    { prompt: 0, answer: 1 },
  ])
    assert.equal((await readFiles(csv, file, { columns })).rows, [row]);
  const fault = await readingFault(csv, file, { columns: { messages: 'q' } });
  assert.equal(fault.path, ['columns', 'messages']);
});

test.run();
