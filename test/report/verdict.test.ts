import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { pairedDifference } from '../../src/base/stats.ts';
import { holm, judge, marginP, type PairedSample, verdictText } from '../../src/report/verdict.ts';
import { present } from '../rig/present.ts';

const test = suite('verdict');

/** Five differences around `mean` with standard error `error`: s of −2…2 is √2.5, s/√5 = 1/√2. */
const sample = (mean: number, error: number, margin = 0): PairedSample => ({
  a: [-2, -1, 0, 1, 2].map((k) => mean + k * error * Math.SQRT2),
  b: [0, 0, 0, 0, 0],
  margin,
});
const states = (samples: readonly PairedSample[], direction: 1 | -1 = 1): string[] =>
  judge(samples, direction).map(({ state }) => state);

test('p is that of Student’s t: 2.776445 with 4 degrees of freedom has 0.05', () => {
  const { a, b } = sample(2.776445, 1);
  assert.ok(Math.abs(marginP(pairedDifference(a, b), 0) - 0.05) < 1e-6);
  assert.ok(
    Math.abs(
      marginP(pairedDifference(a, b), 0.776445) - marginP(pairedDifference(sample(2, 1).a, b), 0),
    ) < 1e-9,
    'the margin is taken off the mean',
  );
  assert.is(marginP(pairedDifference(a, b), 3), 1);
});

test('the sign of the claim decides between held and refuted', () => {
  assert.equal(states([sample(3, 1)]), ['held']);
  assert.equal(states([sample(3, 1)], -1), ['refuted']);
  assert.equal(states([sample(-3, 1)], -1), ['held']);
});

test('the interval must exclude zero by the margin', () => {
  assert.equal(states([sample(3, 1, 0.1)]), ['held'], '(3 − 0.1)/1 = 2.9 is above 2.776');
  assert.equal(states([sample(3, 1, 0.3)]), ['undecided'], '(3 − 0.3)/1 = 2.7 is not');
});

test('Holm: t = 3 decides alone (2.776) or behind a clear one, not as one of two (3.495)', () => {
  assert.equal(states([sample(3, 1)]), ['held']);
  assert.equal(states([sample(3, 1), sample(3, 1)]), ['undecided', 'undecided']);
  assert.equal(states([sample(3, 1), sample(100, 1)]), ['held', 'held']);
  const [second, first] = judge([sample(3, 1), sample(100, 1)], 1);
  assert.ok(
    Math.abs(present(first!.interval).level - 0.975) < 1e-12 &&
      Math.abs(present(second!.interval).level - 0.95) < 1e-12,
  );
});

test('a comparison that fails leaves later ones undecided, whatever their intervals', () => {
  // Three at t = 3: the first is judged at 1 − 0.05/3 and fails, so that the third is not judged at
  // 0.95 by itself.
  assert.equal(states([sample(3, 1), sample(3, 1), sample(3, 1)]), [
    'undecided',
    'undecided',
    'undecided',
  ]);
});

test('a difference that is not a number decides nothing', () => {
  const { a, ...rest } = sample(3, 1);
  assert.equal(states([{ ...rest, a: [NaN, ...a.slice(1)] }]), ['undecided']);
});

test('few seeds decide nothing and say so', () => {
  const two: PairedSample = { a: [1, 1.001], b: [0, 0], margin: 0 };
  assert.is(verdictText(present(judge([two], 1)[0])), 'undecided (n = 2 seeds; verdict needs ≥ 5)');
  assert.is(
    verdictText(present(judge([{ a: [1], b: [0], margin: 0 }], 1)[0])),
    'undecided (n = 1 seed; verdict needs ≥ 5)',
  );
  assert.is(
    verdictText(present(judge([{ a: [], b: [], margin: 0 }], 1)[0])),
    'undecided (n = 0 seeds; verdict needs ≥ 5)',
  );
  assert.equal(
    states([two, sample(3, 1)]),
    ['undecided', 'held'],
    'a comparison that cannot be judged takes no share of the level',
  );
});

test('seeds that all differ by the same amount are judged by their signs, without an interval', () => {
  const b = [0.9, 0.8, 0.7, 0.85, 0.75, 0.65];
  const equal = (n: number, margin = 0.01): PairedSample => ({
    a: b.slice(0, n).map((x) => x + 0.05), // equal but for rounding
    b: b.slice(0, n),
    margin,
  });
  const [five] = judge([equal(5)], 1);
  assert.is(
    verdictText(present(five)),
    'undecided (all 5 seeds differ by the same amount, so no spread can be estimated; ' +
      'sign test: p = 0.063)',
  );
  assert.is(present(five).interval, null);
  assert.is(marginP(pairedDifference(equal(5).a, equal(5).b), 0.01), 0.0625);
  assert.equal(states([equal(6)]), ['held'], 'p = 0.03125');
  assert.equal(states([equal(6)], -1), ['refuted']);
  assert.equal(states([equal(6), equal(6)]), ['undecided', 'undecided'], 'by Holm, 0.0625 each');
  assert.is(
    verdictText(present(judge([equal(6, 0.06)], 1)[0])),
    'undecided (zero is not excluded by the margin)',
  );
});

test('seeds that are equal but for rounding have no difference', () => {
  const drops = [0.9 - 0.8, 0.8 - 0.7, 0.7 - 0.6, 0.6 - 0.5, 0.5 - 0.4, 0.4 - 0.3];
  const difference = pairedDifference(
    drops,
    drops.map(() => 0.1),
  );
  assert.is(difference.mean, 0);
  assert.is(marginP(difference, 0), 1);
});

test('Holm’s correction, as statsmodels has it', () => {
  assert.equal(holm([0.25, 0.0625, 0.5, 0.015625]), [0.5, 0.1875, 0.5, 0.0625]);
  assert.equal(holm([]), []);
});

test.run();
