/**
 * How defences cluster, score and reject rows, against other programs (test/golden/defences.py).
 */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { hdbscan } from '../../plugins/defences/cube/hdbscan.ts';
import { outsideLargestCluster } from '../../plugins/defences/cube/judge.ts';
import { meanDrop, rapLoss } from '../../plugins/defences/rap/judge.ts';
import { flooredShare } from '../../src/base/rounding.ts';
import { auroc, detectionMetrics, rocCurve } from '../../src/defences/detection.ts';
import type { Representations } from '../../src/defences/matrix.ts';
import { rejectionThreshold } from '../../src/defences/threshold.ts';
import { present } from '../rig/present.ts';
import { close, golden } from './golden.ts';

const test = suite('judgements of the defences');

const pointsOf = (rows: readonly (readonly number[])[]): Representations => ({
  values: Float64Array.from(rows.flat()),
  count: rows.length,
  dimensions: present(rows[0]).length,
});

/** Numbers clusters by their first point, since numbers are arbitrary. −1 stays. */
function renumbered(labels: ArrayLike<number>): number[] {
  const numbers = new Map([[-1, -1]]);
  return Array.from(labels, (label) => {
    if (!numbers.has(label)) numbers.set(label, numbers.size - 1);
    return present(numbers.get(label));
  });
}

test("HDBSCAN finds scikit-learn's clusters and noise", () => {
  assert.is(golden.clusters.length, 9);
  for (const { name, points, labels, min_cluster_size: size, min_samples: m } of golden.clusters) {
    const found = hdbscan(pointsOf(points), { minClusterSize: size, minSamples: m ?? size });
    assert.equal(renumbered(found.labels), renumbered(labels), name);
    assert.is(found.count, new Set(labels.filter((label) => label >= 0)).size, name);
  }
});

test('HDBSCAN takes identical points and refuses what it cannot cluster', () => {
  const twice = [
    ...Array.from({ length: 6 }, () => [1, 1]),
    ...Array.from({ length: 6 }, () => [4, 4]),
  ];
  assert.equal(
    [...hdbscan(pointsOf(twice), { minClusterSize: 3, minSamples: 3 }).labels],
    [...new Array<number>(6).fill(0), ...new Array<number>(6).fill(1)],
  );
  const one = pointsOf([[1, 2]]);
  assert.equal([...hdbscan(one, { minClusterSize: 2, minSamples: 1 }).labels], [-1]);
  assert.throws(
    () => hdbscan(one, { minClusterSize: 5, minSamples: 5 }),
    /minSamples is from 1 to the number of points, 1, not 5/,
  );
  assert.throws(
    () => hdbscan(one, { minClusterSize: 1, minSamples: 1 }),
    /minClusterSize is at least 2, not 1/,
  );
  assert.throws(
    () => hdbscan(pointsOf([[1, NaN]]), { minClusterSize: 2, minSamples: 1 }),
    /finite/,
  );
});

test('CUBE keeps the largest cluster of each class, and never noise in its place', () => {
  const labels = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2],
    clusters = [0, 0, 0, -1, 1, 1, 2, -1, -1, -1, 0, -1, -1];
  assert.equal(
    outsideLargestCluster(labels, clusters).flatMap((outside, i) => (outside ? [] : [i])),
    [0, 1, 2, 4, 5, 11, 12],
  );
  // Of equal clusters, the one with the smallest number is kept, wherever it stands.
  assert.equal(outsideLargestCluster([0, 0, 0, 0], [5, 3, 5, 3]), [true, false, true, false]);
});

test("detection is measured as by scikit-learn's metrics", () => {
  for (const { name, poisoned, scores, bar, counts, roc, ...expected } of golden.detection) {
    const found = detectionMetrics(
      scores.map((score) => score >= bar),
      poisoned,
    );
    assert.equal(
      [found.truePositives, found.falsePositives, found.falseNegatives, found.trueNegatives],
      counts,
      name,
    );
    for (const key of ['precision', 'recall', 'frr', 'far'] as const)
      close(present(found[key]), expected[key], `${name}, ${key}`);
    close(present(auroc(scores, poisoned)), expected.auroc, name);
    const [first, ...curve] = rocCurve(scores, poisoned);
    assert.equal(first, { threshold: Infinity, falsePositiveRate: 0, truePositiveRate: 0 });
    assert.equal(
      [
        curve.map(({ threshold }) => threshold),
        curve.map(({ falsePositiveRate }) => falsePositiveRate),
        curve.map(({ truePositiveRate }) => truePositiveRate),
      ],
      roc,
      name,
    );
  }
});

test('rates of nothing are null, and infinite scores have an order', () => {
  const none = detectionMetrics([false, false], [false, false]);
  assert.equal([none.precision, none.recall, none.frr, none.far], [null, null, 0, null]);
  assert.is(detectionMetrics([true], [true]).frr, null);
  const clean = detectionMetrics([true, false], [false, false]);
  assert.equal([clean.precision, clean.frr], [null, 0.5]);
  assert.is(auroc([1, 2], [true, true]), null);
  assert.equal(rocCurve([1, 2], [false, false]), []);
  const scores = [-Infinity, 0, Infinity, -Infinity, Infinity],
    poisoned = [false, false, true, true, false];
  // ∞ beats two of three and ties with one, −∞ ties with one: (2.5 + 0.5)/6.
  assert.is(auroc(scores, poisoned), 0.5);
  assert.throws(() => auroc([NaN], [true]), /NaN/);
  assert.throws(() => detectionMetrics([true], []), /got 1 and 0/);
});

test('a threshold rejects at most the asked share of clean scores, and as many as it can', () => {
  assert.is(rejectionThreshold([1, 2, 3, 4], 0.25) > 3, true);
  assert.is(rejectionThreshold([1, 2, 3, 4], 0.25) <= 4, true);
  assert.is(rejectionThreshold([-Infinity], 0), -Number.MAX_VALUE);
  // .35 · 180 is 63, and 62.99999999999999 in doubles.
  const ofMany = Array.from({ length: 180 }, (_, i) => i);
  const threshold = rejectionThreshold(ofMany, 0.35);
  assert.is(ofMany.filter((score) => score >= threshold).length, 63);
  assert.ok(rejectionThreshold([1], 1 - 2 ** -53) > 1 - 1e-9);
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.double({ noNaN: true }), fc.integer({ min: -3, max: 3 })), {
        minLength: 1,
      }),
      fc.double({ min: 0, max: 0.99, noNaN: true }),
      (scores, rate) => {
        const bar = rejectionThreshold(scores, rate),
          allowed = flooredShare(rate, scores.length);
        const rejected = scores.filter((score) => score >= bar && score !== Infinity);
        assert.ok(rejected.length <= allowed);
        // A lower threshold would reject too many: the largest accepted score and all equal ones.
        const accepted = scores.filter((score) => score < bar),
          next = Math.max(...accepted);
        if (accepted.length > 0)
          assert.ok(scores.filter((score) => score >= next).length > allowed);
      },
    ),
  );
  assert.throws(() => rejectionThreshold([], 0.1), /at least one/);
  assert.throws(() => rejectionThreshold([NaN], 0.1), /NaN/);
  assert.throws(() => rejectionThreshold([1], 1), /in \[0, 1\), got 1/);
});

test('RAP punishes drops below c_low and above c_up', () => {
  const bounds = { low: 0.1, up: 0.3, weight: 2 };
  close(rapLoss([0.2, 0, 0.5], bounds), (0 + 2 * 0.1 + 0.2) / 3, 'L');
  // A word that does nothing is seen by its mean drop, whatever the threshold makes of it.
  assert.ok(meanDrop([0, 0.001, -0.002]) < bounds.low);
});

test.run();
