import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { randomStream } from '../../../../src/base/random.ts';
import {
  classFactor,
  empiricalSummary,
  fisher,
  softmax,
} from '../../../../src/science/measures/fisher.ts';
import { symmetricEigenvalues } from '../../../../src/tensor/linalg.ts';
import { present } from '../../../rig/present.ts';
import { useBackend } from '../../backend.ts';
import { relative } from '../ntk/fixture/compare.ts';

const test = suite('fisher');
test.before(async () => {
  await useBackend('cpu');
});

const N = 5,
  C = 3,
  P = 23;
const options = { tolerance: 1e-12, alphas: [0.5, 1, 2, 3, 'inf'] as const };

/** A random Jacobian (N·C, P), its kernel, logits and labels. */
function problem(parameters: number): {
  J: number[][];
  kernel: Float64Array;
  logits: number[];
  labels: number[];
} {
  const stream = randomStream(7, 'fisher');
  const J = Array.from({ length: N * C }, () =>
    Array.from({ length: parameters }, () => stream.normal()),
  );
  const kernel = Float64Array.from(
    J.flatMap((a) => J.map((b) => a.reduce((sum, x, k) => sum + x * present(b[k]), 0))),
  );
  return {
    J,
    kernel,
    logits: Array.from({ length: N * C }, () => 2 * stream.normal()),
    labels: [0, 2, 1, 1, 0],
  };
}

/** Σ weight · g gᵀ as a (P, P) matrix, and its eigenvalues. */
function spectrumOfSum(
  gradients: readonly { g: readonly number[]; weight: number }[],
  size: number,
): Float64Array {
  const F = new Float64Array(size * size);
  for (const { g, weight } of gradients)
    for (let a = 0; a < size; a++)
      for (let b = 0; b < size; b++) F[a * size + b]! += weight * present(g[a]) * present(g[b]);
  return symmetricEigenvalues(F, size);
}

/** ∇_θ of −log p(y | x_i): Σ_c (p_c − 1[c = y]) ∂f_c. */
function lossGradient(J: readonly number[][], p: Float64Array, i: number, y: number): number[] {
  return present(J[0]).map((_, k) =>
    Array.from(
      { length: C },
      (_, c) => (present(p[i * C + c]) - (c === y ? 1 : 0)) * present(J[i * C + c]![k]),
    ).reduce((a, b) => a + b),
  );
}

test('softmax survives large logits', () => {
  const p = softmax([1000, 1000, -1000, 0, Math.log(3), 0], 3);
  [0.5, 0.5, 0, 0.2, 0.6, 0.2].forEach((value, i) =>
    assert.ok(Math.abs(present(p[i]) - value) < 1e-15),
  );
});

test('a class factor is a root of diag(p) − ppᵀ with one column less', () => {
  for (const p of [
    [0.2, 0.3, 0.5],
    [1 - 2e-9, 1e-9, 1e-9],
    [0.5, 0.5],
    [1, 0],
  ]) {
    const L = classFactor(p),
      k = p.length - 1;
    p.forEach((pc, c) =>
      p.forEach((pd, d) => {
        let product = 0;
        for (let a = 0; a < k; a++) product += present(L[c * k + a]) * present(L[d * k + a]);
        // p_c − p_c² without cancellation: p_c · Σ of the others.
        const expected =
          c === d ? pc * p.reduce((sum, other, e) => sum + (e === c ? 0 : other), 0) : -pc * pd;
        assert.ok(
          Math.abs(product - expected) <= 1e-14 * Math.abs(expected),
          `${product} ${expected}`,
        );
      }),
    );
  }
});

test('the true spectrum is that of E_x E_{y~p} g gᵀ in parameter space', () => {
  const { J, kernel, logits, labels } = problem(P);
  const p = softmax(logits, C);
  const F = spectrumOfSum(
    Array.from({ length: N * C }, (_, k) => {
      const i = Math.floor(k / C),
        y = k % C;
      return { g: lossGradient(J, p, i, y), weight: present(p[i * C + y]) / N };
    }),
    P,
  );
  const { spectrum, count } = fisher(kernel, logits, labels, options).true;
  assert.is(spectrum.length, N * C);
  assert.is(count, N * (C - 1), 'its rank');
  assert.ok(relative(spectrum.slice(0, count), F.slice(0, count)) < 1e-12);
  assert.equal(
    spectrum.slice(count).map((value) => Math.abs(value) < 1e-12),
    Array(N).fill(true),
  );
});

test('the empirical spectrum is that of the mean g gᵀ at the labels', () => {
  const { J, kernel, logits, labels } = problem(P);
  const p = softmax(logits, C);
  const F = spectrumOfSum(
    labels.map((y, i) => ({ g: lossGradient(J, p, i, y), weight: 1 / N })),
    P,
  );
  const { spectrum, count } = fisher(kernel, logits, labels, options).empirical;
  assert.is(spectrum.length, N);
  assert.is(count, N);
  assert.ok(relative(spectrum, F.slice(0, N)) < 1e-12);
});

test('the empirical spectrum alone is the same; of log p(answer) it is that of the mean g gᵀ', () => {
  const { J, kernel, logits, labels } = problem(P);
  const { empirical } = fisher(kernel, logits, labels, options);
  assert.equal(empiricalSummary(kernel, logits, labels, options), { empirical });

  // One output a row: J's rows are the gradients of its log probability.
  const F = spectrumOfSum(
    J.map((g) => ({ g, weight: 1 / J.length })),
    P,
  );
  const { spectrum } = empiricalSummary(kernel, logits, null, options).empirical;
  assert.is(spectrum.length, N * C);
  assert.ok(relative(spectrum, F.slice(0, N * C)) < 1e-12);
  assert.throws(() => empiricalSummary(kernel, labels, null, options), /5 answers/);
});

test('with fewer parameters than rows, the rank is the number of parameters', () => {
  const { kernel, logits, labels } = problem(4);
  const both = fisher(kernel, logits, labels, { ...options, tolerance: 1e-10 });
  assert.equal([both.true.count, both.empirical.count], [4, 4]);
});

test('the trace of the empirical Fisher is the mean squared gradient norm', () => {
  const { J, kernel, logits, labels } = problem(P);
  const p = softmax(logits, C);
  const mean =
    labels.reduce((sum, y, i) => sum + lossGradient(J, p, i, y).reduce((a, g) => a + g * g, 0), 0) /
    N;
  const trace = fisher(kernel, logits, labels, options).empirical.spectrum.reduce(
    (a, b) => a + b,
    0,
  );
  assert.ok(Math.abs(trace - mean) < 1e-12 * mean);
});

test('refuses a kernel whose shape does not fit the rows', () => {
  const { kernel, logits, labels } = problem(P);
  assert.throws(() => fisher(kernel, logits, labels.slice(1), options), /don't belong to 4 rows/);
});

test('the spectrum over fewer rows is that of those rows alone', () => {
  const { J, kernel, logits, labels } = problem(P);
  const { by_rows: byRows, true: all } = fisher(kernel, logits, labels, options);
  assert.equal(
    byRows.map(({ rows }) => rows),
    [1, 3, 4, N],
    'quarters of five, rounded',
  );
  assert.equal(
    [present(byRows[3]).count, present(byRows[3]).information_bits],
    [all.count, all.information_bits],
  );
  const some = J.slice(0, 3 * C);
  const alone = fisher(
    some.flatMap((a) => some.map((b) => a.reduce((sum, x, k) => sum + x * present(b[k]), 0))),
    logits.slice(0, 3 * C),
    labels.slice(0, 3),
    options,
  ).true;
  assert.equal([present(byRows[1]).count, alone.count], [3 * (C - 1), 3 * (C - 1)]);
  assert.ok(
    Math.abs(present(byRows[1]!.information_bits) - present(alone.information_bits)) < 1e-9 &&
      Math.abs(
        present(byRows[1]!.information_bits_normalised) -
          present(alone.information_bits_normalised),
      ) < 1e-9,
  );
});

test.run();
