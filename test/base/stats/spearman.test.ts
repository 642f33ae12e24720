import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ranks, spearman } from '../../../src/base/stats.ts';
import { present } from '../../rig/present.ts';

const test = suite('Spearman');

test('ranks, ties at their mean', () => {
  assert.equal(ranks([30, 10, 20]), [3, 1, 2]);
  assert.equal(ranks([5, 1, 5, 5]), [3, 1, 3, 3]);
  assert.equal(ranks([]), []);
});

test('by hand: 1 − 6Σd²/(n(n²−1)) without ties', () => {
  assert.is(spearman([1, 2, 3, 4], [10, 20, 30, 40]), 1);
  assert.is(spearman([1, 2, 3, 4], [9, 7, 5, 1]), -1);
  // d = 0, 1, 1, 0: 1 − 12/60.
  assert.ok(Math.abs(present(spearman([1, 2, 3, 4], [1, 3, 2, 4])) - 0.8) < 1e-15);
  // With ties, Pearson's on mean ranks: (1, 2.5, 2.5, 4) against (1, 2, 3, 4): 4.5/√(4.5·5).
  assert.ok(
    Math.abs(present(spearman([1, 2, 2, 3], [1, 2, 3, 4])) - 4.5 / Math.sqrt(22.5)) < 1e-15,
  );
});

test('values tie that differ by no more than rounding, and only to the least of a tie', () => {
  const drops = [0.9 - 0.8, 0.8 - 0.7, 0.7 - 0.6, 0.6 - 0.5];
  assert.ok(new Set(drops).size > 1);
  assert.is(spearman([1, 2, 3, 4], drops), null);
  assert.is(spearman(drops, [1, 2, 3, 4]), null);
  assert.is(spearman([1, 2, 3], [0.3 - 0.2, 0.9 - 0.8, 0.5]), spearman([1, 2, 3], [0.1, 0.1, 0.5]));
  assert.equal(ranks([1, 1 + 8e-13, 1 + 16e-13], 1e-12), [1.5, 1.5, 3]);
  assert.equal(ranks([1e-20, 3e-20, -1e-20, 1], 1e-12), [2, 3, 1, 4], 'however small');
  assert.equal(ranks([Infinity, 1, Infinity, -Infinity], 1e-12), [3.5, 2, 3.5, 1]);
});

test('too few pairs, or one side all ties, has none', () => {
  assert.is(spearman([1, 2], [1, 2]), null);
  assert.is(spearman([1, 1, 1], [1, 2, 3]), null);
  assert.throws(() => spearman([1], [1, 2]), /equal lengths/);
});

test.run();
