/**
 * What the defences compute of representations and weights, against NumPy and scikit-learn
 * (test/golden/defences.py).
 */
import { readFile } from 'node:fs/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { principalComponents } from '../../plugins/defences/cube/judge.ts';
import {
  type ChangeStatistics,
  changeStatistics,
  distanceFromClean,
  distancesAmongClean,
  STATISTICS,
} from '../../plugins/defences/delta-spectrum/detect.ts';
import { mixedChange, purifiedRows } from '../../plugins/defences/fine-mixing/edit.ts';
import {
  classScores,
  spectralDrops,
  spectralSignatures,
} from '../../plugins/defences/spectral-signatures/judge.ts';
import { randomStream } from '../../src/base/random.ts';
import { prunedByMagnitude, prunedByWanda } from '../../src/defences/prune.ts';
import { present } from '../rig/present.ts';
import { backends, useBackend } from '../science/backend.ts';
import { tolerance } from '../tolerances.ts';

const test = suite('weights and representations of the defences');

interface Golden {
  readonly representations: {
    readonly rows: readonly number[][];
    readonly labels: readonly number[];
    readonly scores: readonly number[];
    readonly components: readonly number[][];
  };
  readonly spectra: readonly (ChangeStatistics & {
    readonly name: string;
    readonly shape: readonly [number, number];
    readonly change: readonly number[];
  })[];
  readonly pruning: {
    readonly change: readonly number[];
    readonly inputs: readonly number[][];
    readonly cases: readonly {
      readonly share: number;
      readonly magnitude: readonly number[];
      readonly wanda: readonly number[];
    }[];
  };
}
const golden = JSON.parse(
  await readFile(new URL('../golden/defences.json', import.meta.url), 'utf8'),
) as Golden;
const { rows, labels, scores, components } = golden.representations;
const representations = {
  values: Float64Array.from(rows.flat()),
  count: rows.length,
  dimensions: present(rows[0]).length,
};

const near = (actual: ArrayLike<number>, expected: readonly number[], what: string): void => {
  assert.is(actual.length, expected.length, what);
  const scale = Math.hypot(...expected);
  const off = Math.hypot(...expected.map((value, i) => value - present(actual[i])));
  assert.ok(off <= tolerance.double * scale, `${what}: off by ${off / scale}`);
};

for (const backend of backends) {
  test(`spectral signatures and principal components are NumPy's on ${backend}`, async () => {
    await useBackend(backend);
    const found = spectralSignatures(representations, labels);
    near(found.scores, scores, 'τ');
    for (const [label, signature] of found.classes) {
      const ofClass = classScores(representations, signature);
      labels.forEach((own, i) => {
        if (own === label) assert.is(ofClass[i], found.scores[i]);
      });
    }
    const reduced = principalComponents(representations, 4);
    assert.is(reduced.dimensions, 4);
    for (let c = 0; c < 4; c++) {
      const expected = components.map((row) => present(row[c])),
        own = expected.map((_, i) => present(reduced.values[4 * i + c]));
      const sign = Math.sign(own.reduce((sum, value, i) => sum + value * present(expected[i]), 0));
      near(
        own.map((value) => sign * value),
        expected,
        `component ${c}`,
      );
    }
  });
}

test('of each class 1.5·ε of the rows with the largest scores go, and no more', () => {
  const drops = spectralDrops([5, 1, 4, 4, 9, 2, 0, 3], [0, 0, 0, 0, 1, 1, 1, 0], 0.3);
  assert.equal(
    drops.flatMap((drop, i) => (drop ? [i] : [])),
    [0, 2, 4], // ⌊.45·5⌋ = 2 of class 0, the first of the equal ones; ⌊.45·3⌋ = 1 of class 1
  );
  assert.equal(spectralDrops([1, 2], [0, 0], 0), [false, false]);
  // 1.5 · .3 · 60 is 27, and 26.999999999999996 in doubles.
  const equal = new Array<number>(60).fill(0);
  assert.is(spectralDrops(equal, equal, 0.3).filter((drop) => drop).length, 27);
  assert.throws(() => spectralSignatures(representations, [0]), /1 labels do not fit 40 rows/);
});

test('pruning sets to zero what plain NumPy does', () => {
  const { change, inputs, cases } = golden.pruning;
  const weight = Float64Array.from(change);
  const norms = Float64Array.from(present(inputs[0]), (_, j) =>
    Math.sqrt(inputs.reduce((sum, x) => sum + present(x[j]) ** 2, 0)),
  );
  for (const { share, magnitude, wanda } of cases) {
    assert.equal([...prunedByMagnitude(weight, share)], magnitude, `magnitude, ${share}`);
    assert.equal([...prunedByWanda(weight, norms, share)], wanda, `wanda, ${share}`);
  }
  assert.equal([...weight], change);
  assert.throws(() => prunedByMagnitude(Float64Array.of(NaN), 0.5), /NaN/);
  // .58 · 50 is 29, and 28.999999999999996 in doubles.
  const ones = new Float64Array(50).fill(1);
  for (const pruned of [prunedByMagnitude(ones, 0.58), prunedByWanda(ones, ones, 0.58)])
    assert.is(pruned.filter((value) => value === 0).length, 29);
});

test("the statistics of a change are NumPy's and SciPy's", () => {
  for (const { name, shape, change, ...expected } of golden.spectra) {
    const found = changeStatistics(Float64Array.from(change), shape);
    for (const statistic of STATISTICS)
      assert.ok(
        Math.abs(found[statistic] - expected[statistic]) <= 1e-9 * (1 + expected[statistic]),
        `${name}, ${statistic}: ${found[statistic]}, expected ${expected[statistic]}`,
      );
  }
  assert.equal(Object.values(changeStatistics(new Float64Array(6), [3, 2])), [0, 0, 0, 0, 0]);
});

test('a model is as suspicious as it is far from clean models in their own spread', () => {
  const model = (leading: number, energy: number) => ({
    a: { leading, norm: 1, energy, entropy: 0, kurtosis: 0 },
  });
  const clean = [model(1, 0.2), model(2, 0.3), model(3, 0.4)];
  // |z| = (5 − 2)/1 and (.3 − .3)/.1; what all agree in is left out.
  assert.is(distanceFromClean(model(5, 0.3), clean), 1.5);
  assert.equal(
    distancesAmongClean(clean).map((value) => value.toFixed(6)),
    [(1.5 / Math.SQRT1_2).toFixed(6), '0.000000', (1.5 / Math.SQRT1_2).toFixed(6)],
  );
  assert.throws(() => distanceFromClean(model(1, 1), [model(1, 1)]), /at least two/);
  assert.throws(() => distanceFromClean(model(1, 1), [model(1, 1), model(1, 1)]), /agree in every/);
  assert.throws(() => distanceFromClean({ b: model(1, 1).a }, clean), /other layers/);
});

test('fine-mixing keeps a share of the change, and resets what changed most for its frequency', () => {
  const change = Float64Array.from({ length: 1000 }, (_, i) => i + 1);
  const mixed = mixedChange(change, 0.3, randomStream(2, 'mix'));
  const kept = [...mixed.keys()].filter((i) => mixed[i] !== 0);
  assert.is(kept.length, 300);
  assert.ok(kept.every((i) => mixed[i] === change[i]));
  // A hypergeometric count of the first half, within six standard deviations.
  assert.ok(Math.abs(kept.filter((i) => i < 500).length - 150) < 6 * 7.3);
  const ofFifty = mixedChange(new Float64Array(50).fill(1), 0.58, randomStream(2, 'mix'));
  assert.is(ofFifty.filter((value) => value !== 0).length, 29); // .58 · 50, less in doubles
  assert.equal([...mixedChange(change, 1, randomStream(2, 'mix'))], [...change]);
  assert.ok(mixedChange(change, 0, randomStream(2, 'mix')).every((value) => value === 0));
  // ‖δ‖ / log max(f, 20): 5/log 20, 5/log 20, 6/log 1000, 0 and 13/log 20
  const table = Float64Array.of(3, 4, 0, 5, 6, 0, 0, 0, 5, 12);
  assert.equal(purifiedRows(table, [1, 20, 1000, 2, 0], 9), [4, 0, 1, 2]);
  assert.equal(purifiedRows(table, [1, 21, 1000, 2, 0], 2), [4, 0]);
});

test.run();
