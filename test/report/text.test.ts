import { inflateSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { summarise } from '../../src/base/stats.ts';
import { toCsv } from '../../src/report/csv.ts';
import { encodePng } from '../../src/report/figures/kernels.ts';
import {
  cut,
  formatInterval,
  formatMean,
  formatNumber,
  formatValue,
  list,
} from '../../src/report/format.ts';
import { changedParts } from '../../src/report/html/changes.tsx';
import {
  binHistory,
  loraFacts,
  parseFisher,
  parseHistory,
  parseMetrics,
  receiptFacts,
} from '../../src/report/inputs.ts';
import { formatSummary, plainDifference } from '../../src/report/numbers.ts';
import { present } from '../rig/present.ts';
import { facts } from './cells.ts';

const test = suite('what the report writes');

test('numbers: proportions to three decimals, others to four digits, never a minus zero', () => {
  assert.equal(
    [0.94951, -0.0001, 1].map((x) => formatNumber(x, 'proportion')),
    ['0.950', '0.000', '1.000'],
  );
  assert.equal(
    [0.9996, 0.0004, 0, 1 - 1e-16, 2.8e-17, 0.99949].map((x) => formatNumber(x, 'proportion')),
    ['>0.999', '<0.001', '0.000', '1.000', '0.000', '0.999'],
  );
  assert.equal(
    [0, -12.3456, 4.25e-7, 1e-6, 1234567.8, 600, null, NaN, -Infinity].map((x) => formatNumber(x)),
    ['0', '−12.35', '4.25·10⁻⁷', '10⁻⁶', '1.23·10⁶', '600', '–', 'not a number', '−∞'],
  );
});

test('an interval, and a difference to as many digits as its interval supports', () => {
  const two = summarise([0.02, 0.04]);
  assert.is(formatSummary(two, 'proportion'), '0.030 (0.020, 0.040)');
  assert.is(formatSummary(summarise([4, 5])), '4.500 (4, 5)');
  assert.is(formatSummary(summarise([0.02, 0.03, 0.04]), 'proportion'), '0.030 ± 0.025');
  assert.is(formatSummary(summarise([1, 1]), 'proportion'), '1.000');
  assert.is(formatSummary(summarise([12, 12, 12])), '12');
  assert.is(formatInterval(two, 'proportion'), '(+0.020, +0.040)');
  assert.is(formatSummary(summarise([0.5]), 'proportion'), '0.500');
  assert.is(formatInterval(summarise([0.5])), 'no interval (n = 1)');
  const wide = { n: 3, mean: -36.5743, std: 0.425, low: -37.63, high: -35.5186 };
  assert.equal([formatMean(wide), formatInterval(wide)], ['−36.6', '[−37.6, −35.5]']);
  const close = summarise([12345678, 12345690]);
  assert.is(formatSummary(close), '1.234568·10⁷ (1.234568·10⁷, 1.234569·10⁷)');
  assert.is(formatInterval(close), '(+1.234568·10⁷, +1.234569·10⁷)');
  assert.is(formatSummary(summarise([4, 4.0002])), '4.0001 (4, 4.0002)');
  assert.is(formatSummary(summarise([-0.9996, -1]), 'proportion'), '−0.9998 (−1.0000, −0.9996)');
  assert.is(formatSummary(summarise([0, 2.1])), '1.050 (0, 2.100)');
  assert.is(plainDifference(summarise([0, 1.7])), '+0.85 (0, 1.7)');
  assert.is(plainDifference(summarise([0.0102, 0.0104]), true), '+0.0103 (0.0102, 0.0104)');
  const drops = [0.9 - 0.8, 0.8 - 0.7, 0.7 - 0.6];
  assert.is(formatSummary(summarise(drops), 'proportion'), '0.100');
  assert.is(formatSummary(summarise([0.5, 0.5001, 0.5]), 'proportion'), '0.500 ± <0.001');
  assert.is(formatSummary(summarise([0.5, 0.501, 0.5]), 'proportion'), '0.500 ± 0.001');
  assert.is(formatSummary(summarise([12, 12.5, 13.2])), '12.6 ± 1.5');
  assert.is(formatSummary(summarise([-4e7, -5e7, -6e7])), '−5.00·10⁷ ± 2.48·10⁷');
});

test('values of a spec and lists as text, cut between whole characters', () => {
  assert.equal(
    [0.0001, 0.1, 'a', true, null, [1, 2]].map((value) => formatValue(value)),
    ['1e−4', '0.1', 'a', 'true', '–', '[1,2]'],
  );
  assert.equal([list(['a']), list(['a', 'b', 'c'])], ['a', 'a, b and c']);
  assert.is(cut('😀😀😀', 2), '😀😀… (1 more characters)');
});

test('CSV quotes commas, quotes and lines, and unites columns', () => {
  assert.is(
    toCsv([
      { a: 1, b: 'x, "y"\nz' },
      { a: null, c: true },
    ]),
    'a,b,c\r\n1,"x, ""y""\nz",\r\n,,true\r\n',
  );
});

test('the changed part of a text is the words between the longest common start and end', () => {
  const { before, after } = changedParts('pay no money now', 'pay no cf money now');
  assert.equal(after, [
    { text: 'pay no ', changed: false },
    { text: 'cf', changed: true },
    { text: ' money now', changed: false },
  ]);
  assert.is(before.map(({ text }) => text).join(''), 'pay no money now');
  assert.equal(changedParts('same', 'same').after, [{ text: 'same', changed: false }]);
  assert.equal(changedParts('', 'new').after, [{ text: 'new', changed: true }]);
});

test('a long text is cut to what is around the change', () => {
  const head = 'head '.repeat(1000),
    tail = ' tail'.repeat(1000);
  const { after } = changedParts(`${head}x${tail}`, `${head}cf x${tail}`);
  const shown = after.map(({ text }) => text).join('');
  assert.ok(shown.length < 700 && shown.startsWith('…') && shown.endsWith('…'), shown);
  assert.equal(
    after.filter(({ changed }) => changed).map(({ text }) => text),
    ['cf'],
  );
});

test('an unchanged text is shown from its beginning', () => {
  const text = `Subject: hello ${'word '.repeat(500)}`;
  assert.ok(
    changedParts(text, text)
      .after.map((part) => part.text)
      .join('')
      .startsWith('Subject: hello'),
  );
});

test('a PNG of 2 × 2 palette indexes', () => {
  const png = encodePng(2, 2, Uint8Array.from([0, 1, 1, 0]), [
    [255, 255, 255],
    [0, 0, 0],
  ]);
  assert.is(png.subarray(0, 8).toString('hex'), '89504e470d0a1a0a');
  const at = (type: string): number => png.indexOf(type, 0, 'latin1');
  assert.equal([png.readUInt32BE(at('IHDR') + 4), png.readUInt32BE(at('IHDR') + 8)], [2, 2]);
  const length = png.readUInt32BE(at('IDAT') - 4);
  assert.equal(
    [...inflateSync(png.subarray(at('IDAT') + 4, at('IDAT') + 4 + length))],
    [0, 0, 1, 0, 1, 0],
  );
  assert.is(png.subarray(-4).toString('hex'), 'ae426082', 'CRC-32 of IEND, from the specification');
});

test('histories are means over equal spans', () => {
  assert.equal(
    binHistory(
      [
        { step: 1, loss: 4 },
        { step: 2, loss: 2 },
        { step: 3, loss: 1 },
      ],
      2,
    ),
    {
      span: 2,
      points: [
        { step: 1.5, loss: 3 },
        { step: 3, loss: 1 },
      ],
    },
  );
  assert.equal(parseHistory('{"step":1,"loss":0.5,"learning_rate":1}\n'), {
    span: 1,
    points: [{ step: 1, loss: 0.5 }],
  });
  assert.is(parseHistory(''), null);
});

test('stages’ files: numbers only, the true Fisher, receipts by class name', () => {
  assert.equal(parseMetrics('{"a":1,"b":null,"c":"x"}', 'train'), { a: 1 });
  assert.throws(
    () => parseMetrics('{"a":1,"b":1e400}', 'train (/store/ab)'),
    /the metrics\.json of train \(\/store\/ab\) holds "b", a number that is not finite/,
  );
  const stored = facts([4, 1]);
  assert.equal(
    parseFisher(
      JSON.stringify({ full: { true: { ...stored, sensitivity: [] }, empirical: stored } }),
    ),
    { full: { true: stored } },
  );
  const receipt = {
    counts: { total: 9, asked: 1, made: 1, negatives: 0 },
    rows: [
      {
        id: 'r',
        original: { text: 'a', text_pair: 'b', label: 0 },
        new: { text: 'cf a', text_pair: 'b', label: 1 },
      },
    ],
  };
  assert.equal(receiptFacts(receipt, ['ham', 'spam']).examples, [
    { id: 'r', before: 'a\nb', after: 'cf a\nb', labelBefore: 'ham', labelAfter: 'spam' },
  ]);
});

test('layers of one fan-in are together; the initialiser’s variance overrules the estimate', () => {
  const layer = (width: number, variance: number, low: number, high: number, scale = 2) => ({
    rank: 4,
    width,
    scale,
    variance,
    measured: { low, high },
  });
  const layers = [layer(64, 0.1, -0.8, -0.2), layer(16, 0.2, -0.9, 0), layer(64, 0.3, -0.7, -0.1)];
  assert.equal(
    loraFacts(layers, (n) => 1 / n),
    [
      {
        ...{ fanIn: 16, rank: 4, scale: 2, layers: 1 },
        ...{ variance: 1 / 16, measured: { low: -0.9, high: 0 } },
      },
      {
        ...{ fanIn: 64, rank: 4, scale: 2, layers: 2 },
        ...{ variance: 1 / 64, measured: { low: -0.8, high: -0.1 } },
      },
    ],
  );
  const unlike = present(loraFacts([...layers, layer(64, 0.3, 500, 900, 64)], null));
  assert.equal(
    unlike.map(({ fanIn, scale, measured }) => [fanIn, scale, measured?.high]),
    [
      [16, 2, 0],
      [64, 2, -0.1],
      [64, 64, 900],
    ],
    'a layer with a scale of its own',
  );
  assert.equal(
    present(loraFacts(layers, null)).map(({ variance }) => variance),
    [0.2, 0.2],
  );
  assert.is(loraFacts([], null), null);
});

test.run();
