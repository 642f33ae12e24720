import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { randomStream } from '../../../src/base/random.ts';
import { symmetricEigenvalues } from '../../../src/tensor/linalg.ts';
import { present } from '../../rig/present.ts';
import { backends, useBackend } from '../../science/backend.ts';

const test = suite('eigenvalues');

/** H D H for the Householder reflection H = I − 2vvᵀ/vᵀv: its eigenvalues are D's. */
function withSpectrum(spectrum: readonly number[]): Float64Array {
  const n = spectrum.length;
  const stream = randomStream(3, 'eigenvalues');
  const v = Array.from({ length: n }, () => stream.normal());
  const norm = v.reduce((sum, x) => sum + x * x, 0);
  const reflect = (i: number, j: number): number =>
    (i === j ? 1 : 0) - (2 * present(v[i]) * present(v[j])) / norm;
  return Float64Array.from({ length: n * n }, (_, k) => {
    const i = Math.floor(k / n),
      j = k % n;
    return spectrum.reduce((sum, value, d) => sum + reflect(i, d) * value * reflect(d, j), 0);
  });
}

for (const backend of backends) {
  test(`${backend}: finds a known spectrum over twelve orders of magnitude`, async () => {
    await useBackend(backend);
    const spectrum = Array.from({ length: 53 }, (_, i) => 10 ** (4 - (12 * i) / 52));
    const found = symmetricEigenvalues(withSpectrum(spectrum), 53);
    assert.is(found.length, 53);
    // Backward stability: an absolute error of a few ε·λmax, which float32 would miss by eight
    // orders.
    spectrum.forEach((value, i) =>
      assert.ok(
        Math.abs(present(found[i]) - value) < 1e-14 * 53 * present(spectrum[0]),
        `${i}: ${found[i]} for ${value}`,
      ),
    );
  });

  test(`${backend}: orders eigenvalues from the largest, negative ones last`, async () => {
    await useBackend(backend);
    const found = symmetricEigenvalues(withSpectrum([-3, 2, 7, 2, 0]), 5);
    [7, 2, 2, 0, -3].forEach((value, i) => assert.ok(Math.abs(present(found[i]) - value) < 1e-13));
    assert.equal([...symmetricEigenvalues(Float64Array.of(-5), 1)], [-5]);
    assert.equal([...symmetricEigenvalues(new Float64Array(0), 0)], []);
  });

  test(`${backend}: does not change the matrix`, async () => {
    await useBackend(backend);
    const matrix = Float64Array.of(2, 1, 1, 2);
    assert.equal(
      [...symmetricEigenvalues(matrix, 2)].map((value) => Math.round(value * 1e12) / 1e12),
      [3, 1],
    );
    assert.equal([...matrix], [2, 1, 1, 2]);
  });
}

test('refuses a matrix that is not finite and square', () => {
  assert.throws(() => symmetricEigenvalues(new Float64Array(5), 2), /do not form a 2 × 2 matrix/);
  assert.throws(
    () => symmetricEigenvalues(Float64Array.of(1, NaN, NaN, 1), 2),
    /infinite or missing/,
  );
});

test.run();
