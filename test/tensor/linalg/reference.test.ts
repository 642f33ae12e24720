/**
 * Eigenvalues and singular values of hard matrices against LAPACK's, through NumPy
 * (test/golden/spectra.py).
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { singularValues, svd, symmetricEigenvalues } from '../../../src/tensor/linalg.ts';
import { present } from '../../rig/present.ts';
import { backends, useBackend } from '../../science/backend.ts';
import { spectraGolden } from '../../science/spectra-golden.ts';

const test = suite('decompositions against LAPACK');
const EPSILON = 2 ** -52;

/** Two backward stable solvers differ by a few n·ε of the largest value. */
function near(found: Float64Array, expected: readonly number[], what: string): void {
  assert.is(found.length, expected.length);
  const bound = 4 * expected.length * EPSILON * Math.max(...expected.map(Math.abs));
  expected.forEach((value, i) => {
    assert.ok(
      Math.abs(present(found[i]) - value) <= bound,
      `${what} ${i}: ${found[i]}, LAPACK has ${value}, bound ${bound}`,
    );
  });
}

for (const backend of backends) {
  for (const { name, size, matrix, eigenvalues } of spectraGolden.symmetric) {
    test(`${backend}, eigenvalues: ${name}`, async () => {
      await useBackend(backend);
      near(symmetricEigenvalues(Float64Array.from(matrix), size), eigenvalues, 'eigenvalue');
    });
  }

  for (const {
    name,
    shape: [m, n],
    matrix,
    values,
  } of spectraGolden.rectangles) {
    test(`${backend}, singular values: ${name}`, async () => {
      await useBackend(backend);
      const A = Float64Array.from(matrix),
        k = Math.min(m, n);
      near(singularValues(A, m, n), values, 'singular value');
      const found = svd(A, m, n),
        U = present(found.left);
      near(found.values, values, 'singular value');
      // U is orthonormal, and the rows of UᵀA are orthogonal with the singular values as lengths,
      // so U holds the left singular vectors of A.
      const inner = (rows: number, x: (i: number) => number, y: (i: number) => number): number =>
        Array.from({ length: rows }, (_, i) => x(i) * y(i)).reduce((a, b) => a + b, 0);
      const top = present(values[0]),
        scale = top === 0 ? 1 : top;
      const projected = Float64Array.from({ length: k * n }, (_, at) =>
        inner(
          m,
          (i) => present(U[i * k + Math.floor(at / n)]),
          (i) => present(A[i * n + (at % n)]) / scale,
        ),
      ); // UᵀA/σ₁ (k, n)
      for (let a = 0; a < k; a++)
        for (let b = 0; b <= a; b++) {
          assert.ok(
            Math.abs(
              inner(
                m,
                (i) => present(U[i * k + a]),
                (i) => present(U[i * k + b]),
              ) - (a === b ? 1 : 0),
            ) < 1e-13,
            `vectors ${a} and ${b}`,
          );
          assert.ok(
            Math.abs(
              inner(
                n,
                (j) => present(projected[a * n + j]),
                (j) => present(projected[b * n + j]),
              ) - (a === b ? (present(values[a]) / scale) ** 2 : 0),
            ) < 1e-13,
            `UᵀA, ${a} and ${b}`,
          );
        }
    });
  }
}

test.run();
