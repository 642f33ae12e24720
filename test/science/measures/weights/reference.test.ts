/** Effective rank, stable rank and intruder dimensions against NumPy (test/golden/spectra.py). */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { layerSpectrum } from '../../../../plugins/stages/spectrum/run.ts';
import { present } from '../../../rig/present.ts';
import { backends, useBackend } from '../../backend.ts';
import { spectraGolden } from '../../spectra-golden.ts';

const test = suite('spectra of changes against NumPy');
const { cases, ...options } = spectraGolden.changes;

for (const backend of backends) {
  for (const { name, shape, initial, change, ...expected } of cases) {
    test(`${backend}: ${name}`, async () => {
      await useBackend(backend);
      const found = layerSpectrum(
        name,
        Float64Array.from(initial),
        { change: Float64Array.from(change), thin: null },
        shape,
        options,
      );
      const close = (own: ArrayLike<number>, theirs: readonly number[], what: string): void => {
        assert.is(own.length, theirs.length);
        theirs.forEach((value, i) => {
          assert.ok(
            Math.abs(present(own[i]) - value) < 1e-10 * Math.max(1, ...theirs),
            `${what} ${i}: ${own[i]}, NumPy has ${value}`,
          );
        });
      };
      close(found.singular_values, expected.singular_values, 'singular value');
      close(found.cosines, expected.cosines, 'cosine');
      close([found.stable_rank], [expected.stable_rank], 'stable rank');
      assert.equal(
        [found.effective_rank, found.intruder_dimensions],
        [expected.effective_rank, expected.intruder_dimensions],
      );
    });
  }
}

test('the cases include a planted intruder, a non-intruder and rank 3', () => {
  const intruders = new Map(cases.map((one) => [one.name, one.intruder_dimensions]));
  assert.equal(
    [intruders.get('a planted intruder'), intruders.get('its own first direction, stronger')],
    [1, 0],
  );
  assert.is(present(cases.find(({ name }) => name === 'rank 3')).effective_rank, 3);
});

test.run();
