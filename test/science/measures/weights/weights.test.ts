/** Effective weights, spectra and divergence against NumPy (test/golden/theory.py). */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import {
  type Distance,
  distanceOf,
  meanDistance,
  pooledSums,
  sumsOf,
} from '../../../../plugins/stages/divergence/distance.ts';
import {
  effectiveRank,
  type LayerSpectrum,
  layerSpectrum,
} from '../../../../plugins/stages/spectrum/run.ts';
import {
  effectiveWeight,
  layerChange,
} from '../../../../src/science/measures/weights/effective.ts';
import type { LinearLayer } from '../../../../src/science/models/types.ts';
import { present } from '../../../rig/present.ts';
import { backends, useBackend } from '../../backend.ts';
import { openMoved, openStart, theoryGolden, wave } from '../../theory-golden.ts';
import { linears, openTiny } from '../../tiny-bert.ts';

const test = suite('weights');
const options = { energy: 0.9, vectors: 10, cosine: 0.5 };
const targets = linears.filter(({ adaptable }) => adaptable);
/**
 * Weights are stored in float32 and computed with in double precision, so only the storage of the
 * factors rounds.
 */
const WITHIN = 1e-6;

const close = (a: ArrayLike<number>, b: ArrayLike<number>, what: string, within = WITHIN): void => {
  const size = Math.max(...Array.from(b, Math.abs));
  Array.from(b).forEach((value, i) =>
    assert.ok(
      Math.abs(present(a[i]) - value) <= within * size,
      `${what} ${i}: ${a[i]} for ${value}`,
    ),
  );
};

function assertSpectrum(
  found: LayerSpectrum,
  expected: Omit<LayerSpectrum, 'layer' | 'shape'>,
): void {
  const { singular_values: values } = found;
  close(values, expected.singular_values.slice(0, values.length), `${found.layer} singular values`);
  expected.singular_values
    .slice(values.length)
    .forEach((value) => assert.ok(value < 1e-12 * present(values[0])));
  close(found.cosines, expected.cosines, `${found.layer} cosines`);
  for (const name of ['change', 'relative_change', 'stable_rank'] as const)
    close([found[name]], [expected[name]], `${found.layer} ${name}`);
  assert.equal(
    [found.effective_rank, found.intruder_dimensions],
    [expected.effective_rank, expected.intruder_dimensions],
    found.layer,
  );
}

for (const backend of backends) {
  test(
    `${backend}: LoRA's change, through its factors, has NumPy's spectrum and intruder ` +
      'dimensions',
    async () => {
      await useBackend(backend);
      const start = await openStart(),
        end = await openTiny('lora', true);
      for (const layer of targets) {
        const change = await layerChange(start, end, layer);
        assert.is(present(change.thin).k, 5, 'B = 0 at the start adds no column');
        assertSpectrum(
          layerSpectrum(
            layer.name,
            await effectiveWeight(start, layer),
            change,
            [layer.out, layer.in],
            options,
          ),
          present(theoryGolden.spectrum.lora[layer.name]),
        );
      }
      start.dispose();
      end.dispose();
    },
  );
}

test("the spectrum and intruders of a full change equal NumPy's", async () => {
  await useBackend('cpu');
  const network = await openTiny('full', true);
  const found = await Promise.all(
    targets.map(async (layer) => {
      const change = Float64Array.from(wave(layer.name, [layer.out, layer.in], 0.1).data);
      return layerSpectrum(
        layer.name,
        await effectiveWeight(network, layer),
        { change, thin: null },
        [layer.out, layer.in],
        options,
      );
    }),
  );
  found.forEach((spectrum) =>
    assertSpectrum(spectrum, present(theoryGolden.spectrum.full[spectrum.layer])),
  );
  assert.ok(found.some(({ intruder_dimensions: intruders }) => intruders > 0));
  network.dispose();
});

test('thin factors and whole weights give the same spectrum', async () => {
  await useBackend('cpu');
  const a = await openTiny('lora', true),
    b = await openMoved();
  for (const layer of targets.slice(0, 6)) {
    const { change, thin } = await layerChange(a, b, layer);
    const [before, after] = [await effectiveWeight(a, layer), await effectiveWeight(b, layer)];
    close(
      change,
      after.map((value, i) => value - present(before[i])),
      layer.name,
      1e-12,
    );
    assert.is(present(thin).k, 10);
  }
  const same = await layerChange(a, a, present(targets[0]));
  assert.ok(
    same.change.every((value) => Math.abs(value) < 1e-15),
    'rounding alone',
  );
  a.dispose();
  b.dispose();
});

test('without factors, a weight is read off the output for the identity', async () => {
  await useBackend('cpu');
  const network = await openTiny('lora', true);
  // The same adapter, which does not reveal its factors.
  const hidden: typeof network = {
    ...network,
    adapter: { ...network.adapter, factors: () => null },
  };
  const layer = present(targets[4]);
  const before = tf.memory().numTensors;
  const told = await effectiveWeight(network, layer),
    probed = await effectiveWeight(hidden, layer);
  assert.is(tf.memory().numTensors, before, 'tensors');
  close(probed, told, layer.name);
  assert.ok(
    told.some(
      (value, i) =>
        Math.abs(value - present(network.frozen(`${layer.name}.weight`).dataSync()[i])) > 0.01,
    ),
    'LoRA is in it',
  );
  network.dispose();
});

test('an unchanged weight has rank 0 and no intruder', () => {
  const W = Float64Array.of(1, 2, 3, 4, 5, 7);
  for (const thin of [null, { P: new Float64Array(0), Q: new Float64Array(0), k: 0 }]) {
    const {
      effective_rank: rank,
      stable_rank: stable,
      change,
      intruder_dimensions: intruders,
      cosines,
    } = layerSpectrum('x', W, { change: new Float64Array(6), thin }, [2, 3], options);
    assert.equal([rank, stable, change, intruders], [0, 0, 0, 0]);
    close(cosines, [1, 1], 'cosines');
  }
});

test('effective rank by hand', () => {
  assert.is(effectiveRank([3, 1], 0.9), 1, '9 of 10');
  assert.is(effectiveRank([3, 1], 0.91), 2);
  assert.is(effectiveRank([1, 1, 1, 1], 0.5), 2);
  assert.is(effectiveRank([2, 1, 0], 1), 2);
});

test("M between two runs of one start, layer by layer and in total, is NumPy's", async () => {
  await useBackend('cpu');
  const start = await openStart(),
    clean = await openTiny('lora', true),
    poisoned = await openMoved();
  const near = (found: Distance, expected: Distance, what: string): void => {
    for (const name of ['largest', 'l2', 'clean_change', 'relative'] as const)
      close([present(found[name])], [present(expected[name])], `${what} ${name}`);
  };
  const parts = [];
  for (const layer of targets as readonly LinearLayer[]) {
    const sums = sumsOf(
      (await layerChange(start, clean, layer)).change,
      (await layerChange(start, poisoned, layer)).change,
    );
    near(distanceOf(sums), present(theoryGolden.divergence.layers[layer.name]), layer.name);
    parts.push(sums);
  }
  near(distanceOf(pooledSums(parts)), theoryGolden.divergence.total, 'total');
  [start, clean, poisoned].forEach((network) => network.dispose());
});

test('M by hand, and its mean over checkpoints', () => {
  const one = distanceOf(sumsOf([3, 4], [3, 1]));
  assert.equal(one, { largest: 3, l2: 3, clean_change: 5, relative: 0.6 });
  const still = distanceOf(sumsOf([0, 0], [0, 2]));
  assert.equal(still, { largest: 2, l2: 2, clean_change: 0, relative: null });
  assert.equal(meanDistance([one, distanceOf(sumsOf([0, 5], [4, 5]))]), {
    largest: 3.5,
    l2: 3.5,
    clean_change: 5,
    relative: 0.7,
  });
  assert.is(meanDistance([one, still]).relative, null);
  assert.throws(() => sumsOf([1], [1, 2]), /1 values against 2/);
});

test.run();
