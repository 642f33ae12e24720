import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { pairedDifference, summarise } from '../../../src/base/stats.ts';
import { present } from '../../rig/present.ts';

const test = suite('summaries over seeds');
const close = (actual: number | null, expected: number, what: string): void =>
  assert.ok(
    actual !== null && Math.abs(actual - expected) <= 1e-9 * Math.max(1, Math.abs(expected)),
    `${what}: ${actual}, expected ${expected}`,
  );

test('mean, sample deviation and the 95% interval, as scipy.stats.t.interval has them', () => {
  for (const [values, mean, std, low, high] of [
    [
      [0.91, 0.935, 0.94, 0.925, 0.95],
      0.932,
      0.015247950681976872,
      0.9130671685918028,
      0.9509328314081973,
    ],
    [[1, 2, 3, 4], 2.5, 1.2909944487358056, 0.4457397432394794, 4.554260256760521],
    [[0.2, 0.8], 0.5, 0.42426406871192857, -3.311861420852408, 4.3118614208524075],
  ] as const) {
    const summary = summarise(values);
    assert.is(summary.n, values.length);
    close(summary.mean, mean, 'mean');
    close(summary.std, std, 'std');
    close(summary.low, low, 'low');
    close(summary.high, high, 'high');
  }
});

test('another level', () => {
  const { low, high } = summarise([0.91, 0.935, 0.94, 0.925, 0.95], 0.99);
  close(low, 0.9006042587971842, 'low');
  close(high, 0.9633957412028159, 'high');
});

test('one value has no spread, equal values an interval of no width, no value no summary', () => {
  assert.equal(summarise([0.7]), { n: 1, mean: 0.7, std: null, low: null, high: null });
  assert.equal(summarise([0.5, 0.5, 0.5]), { n: 3, mean: 0.5, std: 0, low: 0.5, high: 0.5 });
  const [first, second] = [0.9 - 0.8, 0.8 - 0.7] as const;
  assert.ok(first !== second);
  assert.equal(summarise([first, second]), { n: 2, mean: first, std: 0, low: first, high: first });
  assert.is(summarise([-first, -second]).std, 0);
  assert.is(summarise([1e6, 1e6 + 1e-7]).std, 0, 'rounding is in proportion to the values');
  for (const differing of [
    [1, 1 + 1e-11],
    [1e-14, 2e-14],
  ])
    assert.ok(present(summarise(differing).std) > 0, differing.join());
  assert.not.equal(summarise([Infinity, 1, 2]).std, 0);
  assert.is(summarise([Infinity, Infinity]).std, 0);
  assert.throws(() => summarise([]), /at least one value/);
});

test("a paired difference, as scipy.stats.ttest_rel has its interval, with Cohen's d_z", () => {
  const { n, mean, std, low, high, effect } = pairedDifference(
    [0.95, 0.94, 0.93, 0.96, 0.9],
    [0.91, 0.93, 0.9, 0.9, 0.89],
  );
  assert.is(n, 5);
  close(mean, 0.03, 'mean');
  close(std, 0.021213203435596416, 'std');
  close(low, 0.003660329007447487, 'low');
  close(high, 0.05633967099255244, 'high');
  close(effect, 1.4142135623730951, 'effect'); // .03 / (.015·√2)
});

test('pairs that differ by the same but for rounding have no effect size', () => {
  const a = [0.9, 0.8, 0.7],
    b = [0.8, 0.7, 0.6];
  assert.ok(new Set(a.map((x, i) => x - present(b[i]))).size > 1);
  const { mean, std, low, high, effect } = pairedDifference(a, b);
  close(mean, 0.1, 'mean');
  assert.equal([std, low, high, effect], [0, mean, mean, null]);
  // Rounding errors are those of the numbers that are subtracted, whichever is larger.
  for (const [first, second] of [
    [
      [1e6 + 0.1, 1e6 + 0.3],
      [1e6, 1e6 + 0.2],
    ],
    [
      [0.1, 0.3],
      [1e6, 1e6 + 0.2],
    ],
  ] as const) {
    assert.ok(new Set(first.map((x, i) => x - present(second[i]))).size > 1);
    assert.is(pairedDifference(first, second).std, 0);
    assert.is(pairedDifference(second, first).std, 0);
  }
  assert.is(pairedDifference([0.5], [0.4]).effect, null);
});

test('pairs must be pairs', () =>
  assert.throws(() => pairedDifference([1, 2], [1]), /equal lengths, got 2 and 1/));

test.run();
