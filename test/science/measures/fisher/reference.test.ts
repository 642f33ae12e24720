/**
 * Fisher spectra and their summaries against NumPy, which sums g gᵀ in parameter space
 * (test/golden/spectra.py).
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fisher } from '../../../../src/science/measures/fisher.ts';
import { present } from '../../../rig/present.ts';
import { backends, useBackend } from '../../backend.ts';
import { type FisherCase, spectraGolden } from '../../spectra-golden.ts';

const test = suite('fisher against NumPy');
/**
 * Double precision on both sides: a few ε·λmax/λmin, where the smallest eigenvalue that counts is
 * 10⁻⁸ of the largest.
 */
const WITHIN = 1e-8;

const near = (found: number | null | undefined, expected: number, what: string): void =>
  assert.ok(
    typeof found === 'number' &&
      Math.abs(found - expected) <= WITHIN * Math.max(1e-300, Math.abs(expected)),
    `${what}: ${found}, NumPy has ${expected}`,
  );

/** K = J Jᵀ, (N, C, N, C). */
function kernelOf({ rows, classes, parameters, jacobian }: FisherCase): Float64Array {
  const size = rows * classes;
  return Float64Array.from({ length: size * size }, (_, at) => {
    const x = Math.floor(at / size) * parameters,
      y = (at % size) * parameters;
    let sum = 0;
    for (let k = 0; k < parameters; k++) sum += present(jacobian[x + k]) * present(jacobian[y + k]);
    return sum;
  });
}

for (const backend of backends) {
  for (const given of spectraGolden.fisher) {
    test(`${backend}: ${given.name}`, async () => {
      await useBackend(backend);
      const found = fisher(kernelOf(given), given.logits, given.labels, {
        tolerance: given.tolerance,
        alphas: [0.5, 1, 2, 3, 'inf'],
      });
      for (const which of ['true', 'empirical'] as const) {
        const {
            spectrum,
            count,
            information_bits: bits,
            information_bits_normalised: normalised,
            renyi,
          } = found[which],
          expected = given[which];
        assert.is(count, expected.count, which);
        assert.is(spectrum.length, expected.spectrum.length);
        expected.spectrum.forEach((value, i) => {
          if (i < count) near(spectrum[i], value, `${which} eigenvalue ${i}`);
          else
            assert.ok(
              Math.abs(present(spectrum[i]) - value) < 1e-14 * present(spectrum[0]),
              `${which} eigenvalue ${i}, which does not count: ${spectrum[i]}, NumPy has ${value}`,
            );
        });
        near(bits, expected.information_bits, `${which} information bits`);
        near(
          normalised,
          expected.information_bits_normalised,
          `${which} normalised information bits`,
        );
        for (const form of ['raw', 'normalised'] as const) {
          assert.equal(Object.keys(renyi[form]).sort(), Object.keys(expected.renyi[form]).sort());
          for (const [alpha, value] of Object.entries(expected.renyi[form]))
            near(renyi[form][alpha], value, `${which} ${form} H_${alpha}`);
        }
      }
    });
  }
}

test.run();
