import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { randomStream } from '../../../src/base/random.ts';
import {
  leadingLeftVectors,
  lowRankSingularValues,
  singularValues,
  svd,
} from '../../../src/tensor/linalg.ts';
import { present } from '../../rig/present.ts';
import { backends, useBackend } from '../../science/backend.ts';

const test = suite('singular values');

/** I − 2vvᵀ/vᵀv, orthogonal. */
function householder(n: number, name: string): (i: number, j: number) => number {
  const stream = randomStream(7, 'svd', name);
  const v = Array.from({ length: n }, () => stream.normal());
  const norm = v.reduce((sum, x) => sum + x * x, 0);
  return (i, j) => (i === j ? 1 : 0) - (2 * present(v[i]) * present(v[j])) / norm;
}

/**
 * L D Rᵀ (m, n), L and R reflections: its singular values are D's, its left singular vectors L's
 * columns.
 */
function withSingularValues(
  m: number,
  n: number,
  values: readonly number[],
): { readonly matrix: Float64Array; readonly L: (i: number, j: number) => number } {
  const L = householder(m, 'left'),
    R = householder(n, 'right');
  return {
    L,
    matrix: Float64Array.from({ length: m * n }, (_, k) => {
      const i = Math.floor(k / n),
        j = k % n;
      return values.reduce((sum, value, d) => sum + L(i, d) * value * R(j, d), 0);
    }),
  };
}

for (const backend of backends) {
  for (const [m, n] of [
    [13, 7],
    [7, 13],
    [11, 11],
  ] as const) {
    test(
      `${backend}: finds values and left vectors of a known ${m} × ${n} matrix in double ` +
        'precision',
      async () => {
        await useBackend(backend);
        const k = Math.min(m, n);
        const values = Array.from({ length: k }, (_, i) => 10 ** (2 - (10 * i) / k));
        const { matrix, L } = withSingularValues(m, n, values);
        const before = matrix.slice();
        const found = svd(matrix, m, n);
        assert.equal(matrix, before);
        assert.equal([found.values.length, present(found.left).length], [k, m * k]);
        values.forEach((value, d) => {
          // Backward stability: a few ε·σmax, which float32 would miss by eight orders.
          assert.ok(
            Math.abs(present(found.values[d]) - value) < 1e-14 * m * n * present(values[0]),
            `${d}: ${found.values[d]} for ${value}`,
          );
          const cosine = Array.from(
            { length: m },
            (_, i) => present(found.left![i * k + d]) * L(i, d),
          ).reduce((a, b) => a + b);
          if (d < 3) assert.ok(Math.abs(Math.abs(cosine) - 1) < 1e-10, `vector ${d}: ${cosine}`);
        });
        assert.equal(svd(matrix, m, n, false).left, null);
      },
    );
  }

  for (const [m, n] of [
    [13, 7],
    [7, 13],
    [11, 11],
  ] as const) {
    test(
      `${backend}: the leading left vectors of a ${m} × ${n} matrix are the decomposition's ` +
        'own, deep spectra included',
      async () => {
        await useBackend(backend);
        for (const decades of [1, 4, 12]) {
          // within reach of a Gram matrix, and beyond
          const k = Math.min(m, n),
            { matrix, L } = withSingularValues(
              m,
              n,
              Array.from({ length: k }, (_, i) => 10 ** (2 - (decades * i) / (k - 1))),
            );
          const found = leadingLeftVectors(matrix, m, n, 5);
          assert.is(found.length, 5 * m);
          for (let c = 0; c < 5; c++) {
            const cosine = Array.from(
              { length: m },
              (_, i) => present(found[i * 5 + c]) * L(i, c),
            ).reduce((a, b) => a + b);
            assert.ok(
              Math.abs(Math.abs(cosine) - 1) < 1e-9,
              `${decades} decades, vector ${c}: ${cosine}`,
            );
          }
        }
        const all = Math.min(m, n);
        assert.is(
          leadingLeftVectors(new Float64Array(m * n).fill(1), m, n, 99).length,
          m * all,
          'of rank one',
        );
      },
    );
  }

  test(`${backend}: finds the singular values of a product from its thin factors`, async () => {
    await useBackend(backend);
    const [m, n, k] = [17, 13, 5];
    const stream = randomStream(2, 'low rank');
    const draw = (count: number): Float64Array =>
      Float64Array.from({ length: count }, () => stream.normal());
    const P = draw(m * k),
      Q = draw(n * k);
    const product = Float64Array.from({ length: m * n }, (_, at) => {
      const i = Math.floor(at / n),
        j = at % n;
      let sum = 0;
      for (let q = 0; q < k; q++) sum += present(P[i * k + q]) * present(Q[j * k + q]);
      return sum;
    });
    const whole = singularValues(product, m, n),
      thin = lowRankSingularValues(P, Q, m, n, k);
    assert.is(thin.length, k);
    thin.forEach((value, i) =>
      assert.ok(Math.abs(value - present(whole[i])) < 1e-12 * present(whole[0])),
    );
    whole.slice(k).forEach((value) => assert.ok(value < 1e-12 * present(whole[0])));
  });
}

test('refuses a matrix that is not finite, and factors wider than they are long', () => {
  assert.throws(() => svd(new Float64Array(5), 2, 3), /do not form a 2 × 3 matrix/);
  assert.throws(() => svd(Float64Array.of(1, Infinity), 1, 2), /infinite or missing/);
  assert.throws(
    () => lowRankSingularValues(new Float64Array(6), new Float64Array(9), 2, 3, 3),
    /are not 2 × 3 and 3 × 3/,
  );
});

test.run();
