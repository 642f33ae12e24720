/** What a defence left of a poisoned set, and the receipt of that. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Judgement, Poisoned, Row } from '../../src/api.ts';
import { checkJudgement, keptRows, receiptOfKept } from '../../src/poisoning/kept.ts';
import { checkReceipt, makeReceipt } from '../../src/poisoning/receipt.ts';
import { batches, batchOrder, trainingRows } from '../../src/science/training/batches.ts';
import type { LabelledRow } from '../../src/science/training/settings.ts';

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

test('rows that stand first and last are found at their new places, and dropped with their rows', () => {
  const order = { first: [3, 1], last: [0, 2] };
  const made = receiptOfKept({ ...receipt, order }, left);
  assert.equal(made.order, { first: [1], last: [0] });
  const kept = keptRows('own', { scores: [], suspected: [], rows: left });
  assert.is(checkReceipt(kept, made), null);

  const gone = receiptOfKept({ ...receipt, order: { first: [1], last: [] } }, left);
  assert.not.ok('order' in gone, 'no row is left that was put anywhere');
});

test('a training reads exactly the kept rows of an ordered attack, in its order', () => {
  for (const place of ['first', 'last'] as const) {
    const order = { first: [], last: [], [place]: [3, 1] };
    const some = poisonedRows.map((own, i) => ([0, 1].includes(i) ? null : own));
    const kept = keptRows('own', { scores: [], suspected: [], rows: some });
    const made = receiptOfKept({ ...receipt, order }, some);
    const encode = ({ label }: Row): LabelledRow => ({
      ids: Int32Array.of(1),
      typeIds: Int32Array.of(0),
      label,
    });
    const { rows } = trainingRows(kept, made, encode, null);
    const epochs = batches(batchOrder(rows, { batchSize: 2, shuffle: true, seed: 1 }));
    for (let epoch = 0; epoch < 3; epoch++) {
      const read = [...epochs.next().value].map((index) => kept[index]?.id ?? '');
      // The two negatives follow the clean rows of the only batch.
      const own = read.filter((id) => !['r8', 'r9'].includes(id));
      assert.equal(own, place === 'first' ? ['r3', 'r2'] : ['r2', 'r3']);
      assert.equal(read.sort(), ['r2', 'r3', 'r8', 'r9']);
    }
  }
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
    [{ rows: [{ ...row(0), document: true }, null] }, /something else in the place of row r0/],
    [{ rows: [{ ...row(0), text_pair: 'b' }, null] }, /something else in the place of row r0/],
    [
      { rows: [{ ...row(0), context: [{ role: 'system', content: 'Be kind.' }] }, null] },
      /something else in the place of row r0: it may change a row's texts, and nothing else of it/,
    ],
  ];
  for (const [wrong, message] of faults)
    assert.throws(() => checkJudgement('own', rows, { ...fits, ...wrong }), message);
  const pair = { ...row(0), text_pair: 'b' };
  const left = (kept: Row): Judgement => ({ scores: [0], suspected: [false], rows: [kept] });
  checkJudgement('own', [pair], left({ ...pair, text_pair: 'c' }));
  for (const kept of [row(0), { ...pair, text_pair: null as never }])
    assert.throws(() => checkJudgement('own', [pair], left(kept)), /in the place of row r0/);
});

test.run();
