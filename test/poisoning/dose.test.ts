import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Row, UserFault } from '../../src/api.ts';
import { attackStreams } from '../../src/base/random.ts';
import { askedRows, type Dose, poisonDose } from '../../src/poisoning/dose.ts';

const test = suite('dose');
const rows: Row[] = Array.from({ length: 101 }, (_, i) => ({
  id: `r${i}`,
  text: `text ${i}`,
  label: i % 2,
}));

test('the dose is ⌊rate·N⌋ of the decimals as written, not of their doubles', () => {
  // As doubles, .29·100 = 28.999… and .57·100 = 56.99…; other products land above the whole number.
  assert.is(askedRows({ rate: 0.29 }, 100), 29);
  assert.is(askedRows({ rate: 0.57 }, 100), 57);
  assert.is(askedRows({ rate: 0.1 }, 30), 3);
  assert.is(askedRows({ rate: 0.7 }, 10), 7);
  assert.is(askedRows({ rate: 0.0015 }, 2000), 3);
  assert.is(askedRows({ rate: 0.1 + 0.2 }, 10), 3);
  assert.is(askedRows({ rate: 1 - 0.9 }, 10), 1); // 0.09999999999999998, as a linspace makes it
});

test('other doses are rounded down', () => {
  assert.is(askedRows({ rate: 0.3 }, 7), 2);
  assert.is(askedRows({ rate: 0.999999 }, 1000), 999);
  assert.is(askedRows({ rate: 0.0025 }, 399), 0);
  assert.is(askedRows({ rate: 0 }, 1000), 0);
  assert.is(askedRows({ rate: 1 }, 1000), 1000);
});

test('for every rate of three digits the dose is a division of whole numbers', () => {
  for (let thousandths = 0; thousandths <= 1000; thousandths++) {
    for (const n of [1, 7, 30, 100, 600, 1999, 67349]) {
      assert.is(
        askedRows({ rate: thousandths / 1000 }, n),
        Math.floor((thousandths * n) / 1000),
        `${thousandths}/1000 of ${n}`,
      );
    }
  }
});

test('a count takes precedence over the rate', () =>
  assert.is(askedRows({ rate: 0.3, count: 5 }, 100), 5));

/** The indexes of the rows that are drawn from `from`. */
const draw = (
  params: Dose,
  { seed = 1, from = rows, isEligible = (_: Row): boolean => true } = {},
): readonly number[] =>
  poisonDose(
    { rows: from, params, random: attackStreams(seed, 'x') },
    isEligible,
    '',
    (row) => row,
  ).changed.map(({ index }) => index);

test('exactly the asked number of rows is drawn, and no row twice', () => {
  // Code that this project descends from tossed a coin for each row: about rate·N rows, and another
  // number at each seed.
  for (let seed = 1; seed <= 40; seed++) assert.is(new Set(draw({ rate: 0.3 }, { seed })).size, 30);
});

test('the rows of a smaller dose are among those of a larger one', () => {
  const ofClass1 = (rate: number, seed = 1): readonly number[] =>
    draw({ rate }, { seed, isEligible: ({ label }) => label === 1 });
  assert.equal(ofClass1(0.1), ofClass1(0.3).slice(0, 10));
  assert.not.equal(ofClass1(0.3), ofClass1(0.3, 2));
  assert.ok(ofClass1(0.3).every((index) => rows[index]?.label === 1));
});

test('every eligible row is equally likely', () => {
  const times = new Array<number>(10).fill(0);
  for (let seed = 0; seed < 2000; seed++)
    for (const index of draw({ count: 3 }, { seed, from: rows.slice(0, 10) })) times[index]!++;
  // The standard deviation of 2000 draws at .3 is √(2000·.3·.7) = 20.5; the bound is five of them.
  for (const n of times) assert.ok(Math.abs(n - 600) < 103, `${n} of an expected 600`);
});

test("too few eligible rows are the user's fault, reported with the numbers", () => {
  const ask = (params: { rate: number; count?: number }) => () =>
    poisonDose(
      { rows, params, random: attackStreams(1, 'x') },
      (row) => row.label === 1,
      'labels other than 0',
      (row) => row,
    );
  assert.throws(
    ask({ rate: 0.6 }),
    (error: unknown) =>
      error instanceof UserFault &&
      error.message ===
        'The attack asks for 60 rows (rate 0.6 of 101), but only 50 of 101 are eligible: ' +
          'labels other than 0.',
  );
  assert.throws(ask({ rate: 0, count: 51 }), /asks for 51 rows \(count 51\), but only 50/);
  assert.is(ask({ rate: 0, count: 50 })().changed.length, 50);
});

test.run();
