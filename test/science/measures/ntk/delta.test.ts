import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { randomStream } from '../../../../src/base/random.ts';
import { marchenkoPastur, premise } from '../../../../src/science/measures/ntk/delta.ts';
import { symmetricEigenvalues } from '../../../../src/tensor/linalg.ts';
import { present } from '../../../rig/present.ts';
import { useBackend } from '../../backend.ts';

const test = suite('M_Δ');
test.before(async () => {
  await useBackend('cpu');
});

const near = (a: number, b: number, within = 1e-12): void =>
  assert.ok(Math.abs(a - b) <= within * Math.max(1, Math.abs(b)), `${a} is not ${b}`);
const draw = (r: number, n: number, std: number): Float64Array => {
  const stream = randomStream(5, 'delta');
  return Float64Array.from({ length: r * n }, () => stream.normal() * std);
};

test('the premise facts of A = [[2, 0, 0], [0, 1, 0]], computed by hand', () => {
  const facts = premise('x', { A: [2, 0, 0, 0, 1, 0], B: [0, 0], rank: 2, width: 3, scale: 0.5 });
  near(facts.variance, 5 / 6);
  near(facts.level, ((0.25 * 5) / 6) * 3);
  near(facts.measured.high, 0.25 * 4 - 1);
  near(facts.measured.low, 0.25 * 1 - 1);
  assert.equal(
    [facts.stated, facts.scaled, facts.negative_semidefinite, facts.zero_b],
    [false, true, true, true],
  );
  near(facts.predicted.low, ((0.25 * 5) / 6) * 3 * (1 - Math.sqrt(2 / 3)) ** 2 - 1);
  near(facts.predicted.high, ((0.25 * 5) / 6) * 3 * (1 + Math.sqrt(2 / 3)) ** 2 - 1);
  // One eigenvalue above zero is enough: .49·4 − 1 = .96, though .49 − 1 is below it and the scaled
  // variance, .41, above 1/3.
  const mixed = premise('x', { A: [2, 0, 0, 0, 1, 0], B: [0, 0], rank: 2, width: 3, scale: 0.7 });
  assert.ok(mixed.measured.high > 0 && mixed.measured.low < 0);
  assert.equal([mixed.negative_semidefinite, mixed.scaled], [false, false]);
});

test('the scale that the paper omits decides whether the premise holds', () => {
  // PEFT's own default, s = 1 and σ² = 1/(3n), keeps the premise; the paper's experiments, s = 2,
  // break it: s²σ²n = 4/3.
  const n = 384,
    A = draw(8, n, Math.sqrt(1 / (3 * n)));
  const peft = premise('x', { A, B: [0], rank: 8, width: n, scale: 1 }),
    paper = premise('x', { A, B: [0], rank: 8, width: n, scale: 2 });
  assert.equal([peft.stated, peft.scaled, peft.negative_semidefinite], [true, true, true]);
  assert.equal([paper.stated, paper.scaled, paper.negative_semidefinite], [true, false, false]);
  near(peft.level, 1 / 3, 0.05);
  near(paper.level, 4 / 3, 0.05);
});

test(
  'the premise is on the initialiser: at σ² = 1/n it is broken, on whichever side the sample ' +
    'lies',
  () => {
    const sides = new Set<boolean>();
    // 49: in floating point (1/49)·49 is below 1.
    for (const n of [49, 384, 1021])
      for (let seed = 0; seed < 8; seed++) {
        const stream = randomStream(seed, 'delta', String(n));
        const A = Float64Array.from({ length: 4 * n }, () => stream.normal() / Math.sqrt(n));
        const facts = premise('x', { A, B: [0], rank: 4, width: n, scale: 1, variance: 1 / n });
        const mean = A.reduce((sum, a) => sum + a * a, 0) / A.length;
        assert.equal(
          [facts.stated, facts.scaled, facts.variance, facts.variance_of],
          [false, false, 1 / n, 'spec'],
        );
        near(facts.sample_variance, mean);
        near(facts.sample_level, mean * n);
        near(facts.level, 1);
        assert.equal([facts.sample_stated, facts.sample_scaled], [mean < 1 / n, mean < 1 / n]);
        near(facts.predicted.high, (1 + Math.sqrt(4 / n)) ** 2 - 1);
        sides.add(facts.sample_stated);
      }
    assert.is(sides.size, 2, 'of 24 draws all samples lie on one side');
    const loaded = premise('x', { A: [0.5, 0.5], B: [0], rank: 1, width: 2, scale: 1 });
    assert.equal([loaded.variance, loaded.variance_of, loaded.stated], [0.25, 'sample', true]);
  },
);

test("the r measured eigenvalues are M_Δ's, apart from those at −1", () => {
  const r = 3,
    n = 11,
    scale = 1.3,
    A = draw(r, n, 0.5);
  const M = Float64Array.from({ length: n * n }, (_, k) => {
    const i = Math.floor(k / n),
      j = k % n;
    let sum = i === j ? -1 : 0;
    for (let q = 0; q < r; q++) sum += scale ** 2 * present(A[q * n + i]) * present(A[q * n + j]);
    return sum;
  });
  const whole = symmetricEigenvalues(M, n);
  const { measured } = premise('x', { A, B: [1], rank: r, width: n, scale });
  near(measured.high, present(whole[0]));
  near(measured.low, present(whole[r - 1]));
  whole.slice(r).forEach((value) => near(value, -1));
});

test('Marchenko–Pastur: limits by hand, and a Gaussian A within its finite-size bound', () => {
  const { low, high } = marchenkoPastur(4, 16, 0.1); // 1.6 · (1 ± ½)² − 1
  near(low, 1.6 / 4 - 1);
  near(high, (1.6 * 9) / 4 - 1);
  // The singular values of a Gaussian (r, n) lie in σ(√n ± (√r + t)) except with probability
  // 2e^{−t²/2}, which is 7e-6 for t = 5.
  const r = 32,
    n = 512,
    std = 0.04,
    t = 5;
  const { measured } = premise('x', { A: draw(r, n, std), B: [0], rank: r, width: n, scale: 1 });
  assert.ok(measured.high + 1 < (std * (Math.sqrt(n) + Math.sqrt(r) + t)) ** 2);
  assert.ok(measured.low + 1 > (std * (Math.sqrt(n) - Math.sqrt(r) - t)) ** 2);
  const limits = marchenkoPastur(r, n, std ** 2);
  near(measured.high + 1, limits.high + 1, 0.1);
  near(measured.low + 1, limits.low + 1, 0.1);
});

test('a trained B is reported, and an A of another shape refused', () => {
  assert.is(premise('x', { A: [1, 0], B: [0, 1e-9], rank: 1, width: 2, scale: 1 }).zero_b, false);
  assert.throws(
    () => premise('layer.7', { A: [1, 0, 0], B: [0], rank: 1, width: 2, scale: 1 }),
    /layer\.7 has 3 entries, not 1 × 2/,
  );
});

test.run();
