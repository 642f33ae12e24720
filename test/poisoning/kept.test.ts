/** What a defence left of a poisoned set, and the receipt of that. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Judgement, Poisoned, Row } from '../../src/api.ts';
import { checkJudgement, keptRows, receiptOfKept } from '../../src/poisoning/kept.ts';
import { checkReceipt, makeReceipt } from '../../src/poisoning/receipt.ts';

const row = (i: number, text = `text ${i}`, label = 0): Row => ({ id: `r${i}`, text, label });
const clean = [0, 1, 2, 3].map((i) => row(i));
const changed = [
  { index: 1, row: row(1, 'text 1 cf', 1) },
  { index: 3, row: row(3, 'text 3 cf', 1) },
];
const negatives = [row(8, 'part'), row(9, 'part')];
const poisonedRows = clean
  .map((own, i) => changed.find(({ index }) => index === i)?.row ?? own)
  .concat(negatives);
const poisoned: Poisoned = { changed, negatives, asked: 2, eligible: 4 };
const receipt = makeReceipt(clean, poisonedRows, poisoned, 'badnets', {}, 1);

/** Rows 0, 1 and the second negative are dropped, row 3 is cleaned. */
const left = poisonedRows.map((own, i) =>
  [0, 1, 5].includes(i) ? null : i === 3 ? { ...own, text: 'text 3' } : own,
);

test('the receipt of the rows that are left fits them, and names the poisoned ones', () => {
  const kept = keptRows('own', { scores: [], suspected: [], rows: left });
  const made = receiptOfKept(receipt, left);
  assert.is(checkReceipt(kept, made), null);
  assert.equal(
    made.rows.map(({ id, index, original, new: content }) => [id, index, original, content]),
    [['r3', 1, { text: 'text 3', label: 0 }, { text: 'text 3', label: 1 }]],
  );
  assert.equal(
    made.negatives.map(({ id, index }) => [id, index]),
    [['r8', 2]],
  );
  assert.equal(made.counts, { total: 3, asked: 1, eligible: 4, made: 1, negatives: 1 });
});

test('the receipt of composed attacks counts what is left of each', () => {
  const steps = [
    {
      attack: 'a',
      poisoned: { changed: changed.slice(0, 1), negatives: [], asked: 1, eligible: 4 },
    },
    { attack: 'b', poisoned: { changed: changed.slice(1), negatives, asked: 1, eligible: 3 } },
  ];
  const composed = makeReceipt(clean, poisonedRows, poisoned, 'a+b', {}, 1, steps);
  const made = receiptOfKept(composed, left);
  assert.is(checkReceipt(keptRows('own', { scores: [], suspected: [], rows: left }), made), null);
  assert.equal(
    made.steps?.map(({ attack, counts }) => [attack, counts.made, counts.negatives]),
    [
      ['a', 0, 0],
      ['b', 1, 1],
    ],
  );
});

test('a set of which all rows are kept has the receipt that it had', () => {
  assert.equal(receiptOfKept(receipt, poisonedRows), receipt);
});

test('a defence that leaves no row is reported', () => {
  assert.throws(
    () => keptRows('own', { scores: [], suspected: [], rows: [null, null] }),
    /the defence "own" left none of the 2 rows/,
  );
});

test('a judgement that does not fit the rows is reported', () => {
  const rows = clean.slice(0, 2);
  const fits: Judgement = { scores: [0, Infinity], suspected: [false, true], rows: [row(0), null] };
  checkJudgement('own', rows, fits);
  const faults: readonly (readonly [Partial<Judgement>, RegExp])[] = [
    [{ scores: [1] }, /must return `scores`, a number for each of 2 rows/],
    [{ scores: [1, NaN] }, /gave row r1 a score that is not a number/],
    [{ suspected: [true, 1 as never] }, /must return `suspected`/],
    [{ rows: [row(0)] }, /must return `rows`/],
    [{ rows: [{ ...row(0), label: 1 }, null] }, /something else in the place of row r0/],
    [{ rows: [row(1), null] }, /something else in the place of row r0/],
  ];
  for (const [wrong, message] of faults)
    assert.throws(() => checkJudgement('own', rows, { ...fits, ...wrong }), message);
});

test.run();
