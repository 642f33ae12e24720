/**
 * What the defences compute of representations and weights, against NumPy and scikit-learn
 * (test/golden/defences.py).
 */
import { readFile } from 'node:fs/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { principalComponents } from '../../../src/science/defences/principal-components.ts';
import { prunedByMagnitude, prunedByWanda } from '../../../src/science/defences/prune.ts';
import {
  spectralKeep,
  spectralScores,
  spectralSignatures,
} from '../../../src/science/defences/spectral-signatures.ts';
import { present } from '../../rig/present.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, useBackend } from '../backend.ts';

const test = suite('weights and representations of the defences');

interface Golden {
  readonly representations: {
    readonly rows: readonly number[][];
    readonly labels: readonly number[];
    readonly scores: readonly number[];
    readonly components: readonly number[][];
  };
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
  await readFile(new URL('../../golden/defences.json', import.meta.url), 'utf8'),
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
    assert.equal(spectralScores(representations, labels, found.classes), found.scores);
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
  const keep = spectralKeep([5, 1, 4, 4, 9, 2, 0, 3], [0, 0, 0, 0, 1, 1, 1, 0], 0.3);
  assert.equal(
    keep.flatMap((kept, i) => (kept ? [] : [i])),
    [0, 2, 4], // ⌊.45·5⌋ = 2 of class 0, the first of the equal ones; ⌊.45·3⌋ = 1 of class 1
  );
  assert.equal(spectralKeep([1, 2], [0, 0], 0), [true, true]);
  assert.throws(() => spectralKeep([1], [0], 0.7), /ε is in \[0, ⅔\], not 0.7/);
  assert.throws(() => spectralSignatures(representations, [0]), /1 labels do not fit 40 rows/);
  assert.throws(() => spectralScores(representations, labels, new Map()), /has no signature/);
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
  assert.throws(() => prunedByMagnitude(weight, 1.1), /in \[0, 1\], not 1.1/);
  assert.throws(() => prunedByWanda(weight, norms.subarray(1), 0.5), /has no rows of 10/);
  assert.throws(() => prunedByMagnitude(Float64Array.of(NaN), 0.5), /NaN/);
});

test.run();
