import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { pairedOutcomes } from '../../../src/base/stats.ts';

const test = suite('McNemar');

/** b rows with the first outcome alone, c with the second alone, `both` with both. */
const outcomes = (b: number, c: number, both = 3) => {
  const list = (...runs: readonly (readonly [number, boolean])[]): boolean[] =>
    runs.flatMap(([count, value]) => Array.from({ length: count }, () => value));
  return pairedOutcomes(
    list([b, true], [c, false], [both, true]),
    list([b, false], [c, true], [both, true]),
  );
};
const near = (a: number, b: number): void => assert.ok(Math.abs(a - b) < 1e-12, `${a} is not ${b}`);

test('p is the exact binomial one, by hand: 1 of 6 discordant rows has 2·(1 + 6)/64', () => {
  const { onlyFirst, onlySecond, difference, p } = outcomes(1, 5);
  assert.equal([onlyFirst, onlySecond], [1, 5]);
  near(difference, -4 / 9);
  near(p, 14 / 64);
  near(outcomes(0, 6).p, 2 / 64);
  near(outcomes(5, 0).p, 2 / 32);
});

test('the order decides the sign alone, and equal outcomes have p = 1', () => {
  near(outcomes(5, 1).p, outcomes(1, 5).p);
  near(outcomes(5, 1).difference, 4 / 9);
  assert.is(outcomes(4, 4).p, 1);
  assert.equal([outcomes(0, 0).p, outcomes(0, 0).difference], [1, 0]);
});

test('many rows neither overflow nor vanish', () => {
  assert.ok(outcomes(60_000, 40_000).p < 1e-300);
  assert.ok(outcomes(50_000, 50_001).p > 0.99);
});

test('outcomes that are not in pairs are refused', () => {
  assert.throws(() => pairedOutcomes([true], []), RangeError);
  assert.throws(() => pairedOutcomes([], []), RangeError);
});

test.run();
