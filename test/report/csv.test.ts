import { parse } from 'csv-parse/sync';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { csvLine, toCsv } from '../../src/report/csv.ts';

const test = suite('CSV');

test('text that a spreadsheet takes for a formula is marked; numbers keep their sign', () => {
  for (const text of ['=1+1', '+SUM(A1)', '-2+3+cmd|x', '@SUM(1)', '\tx', '\rx', '-', '+'])
    assert.equal(parse(csvLine([text])), [[`'${text}`]]);
  for (const number of [-0.5, 1e-7, -1e-7, '-0.25', '+3', '-1e-7', '-.5'])
    assert.equal(parse(csvLine([number])), [[String(number)]]);
  for (const text of ['label-flip', 'a=b', "it's", 'a@b', ''])
    assert.equal(parse(csvLine([text, 'x'])), [[text, 'x']]);
});

test('column names are texts too, and fields with separators are quoted', () => {
  assert.is(
    toCsv([
      { '=cmd': 'a,b', n: -1 },
      { n: null, more: true },
    ]),
    `'=cmd,n,more\r\n"a,b",-1,\r\n,,true\r\n`,
  );
});

test.run();
