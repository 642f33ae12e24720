import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cheaper, costs } from '../../../../src/science/measures/ntk/contractions.ts';
import { sliceWidth } from '../../../../src/science/measures/ntk/explicit.ts';
import { batches, layerBytes, layerGroups } from '../../../../src/science/measures/ntk/passes.ts';
import { MOST_LOGITS, similarLengths } from '../../../../src/science/models/layout.ts';
import type { TokenRow } from '../../../../src/science/models/types.ts';
import { present } from '../../../rig/present.ts';

const test = suite('plans of a contraction');

test('batches hold rows of similar length within the token limit', () => {
  const lengths = [7, 3, 19, 3, 5, 2];
  assert.equal(
    batches(lengths, { tokens: 10 }).map((rows) => [...rows]),
    [[5, 1, 3], [4], [0], [2]],
  ); // 3·3 = 9, then 2·7 > 10
  assert.equal(
    batches(lengths, { tokens: 1000 }).map((rows) => [...rows]),
    [[5, 1, 3, 4, 0, 2]],
  );
  assert.equal(batches(lengths, { tokens: 1 }).length, 6);
});

test('batches hold more rows where padding does not count', () => {
  const sizes = (countPadding: boolean) =>
    batches([2, 3, 3, 5, 7], { tokens: 13, countPadding }).map(({ length }) => length);
  assert.equal(sizes(true), [3, 1, 1]); // 4·5 > 13, 2·7 > 13
  assert.equal(sizes(false), [4, 1]); // 2 + 3 + 3 + 5 = 13
});

test('batches hold few rows where attention would pad them to a much longer one', () => {
  const sizes = (long: number) =>
    batches([...new Array<number>(14).fill(1), long], { tokens: 100, countPadding: false }).map(
      ({ length }) => length,
    );
  assert.equal(sizes(58), [15]); // 15 · 58² ≤ 512 · 100
  assert.equal(sizes(59), [14, 1]);
});

test('batches hold few rows where their logits are many, and at least one', () => {
  const half = MOST_LOGITS / 2;
  assert.equal(
    batches([5, 5, 5, 9], { tokens: 1000, logits: [half, half, half, 3 * MOST_LOGITS] }).map(
      (rows) => [...rows],
    ),
    [[0, 1], [2], [3]],
  );
  const rows = [3, 7, 7, 5].map((length) => ({
    ids: new Int32Array(length),
    typeIds: new Int32Array(length),
  }));
  const sizes = (logits?: (row: TokenRow) => number) => [...similarLengths(rows, 3, logits)];
  assert.equal(sizes(), [[1, 2, 3], [0]]);
  assert.equal(
    sizes(({ ids }) => (ids.length * MOST_LOGITS) / 12),
    [[1], [2, 3], [0]],
  );
  assert.equal(
    sizes(() => 2 * MOST_LOGITS),
    [[1], [2], [3], [0]],
  );
});

test('layer groups fit the memory and hold each layer once, in order', () => {
  const layers = [
    [100, 50],
    [100, 50],
    [50, 400],
    [10, 10],
  ].map(([n, m], i) => ({
    name: `l${i}`,
    in: present(n),
    out: present(m),
    bias: true,
    adaptable: true,
  }));
  // bytes: 4 · 1000 tokens · (n + 2m) = 0.8 MB, 0.8 MB, 3.4 MB, 0.12 MB
  const names = (memoryMB: number): string[][] =>
    layerGroups(layers, (layer) => layerBytes(layer, { rows: 10, tokens: 1000 }, 2), memoryMB).map(
      (group) => group.map(({ name }) => name),
    );
  assert.equal(names(100), [['l0', 'l1', 'l2', 'l3']]);
  assert.equal(names(1.6), [['l0', 'l1'], ['l2'], ['l3']]);
  assert.equal(names(0.001), [['l0'], ['l1'], ['l2'], ['l3']]);
});

test('token pairs are chosen for short rows, gradients for long ones', () => {
  const block = (rows: number, width: number): { rows: number; tokens: number; width: number } => ({
    rows,
    tokens: rows * width,
    width,
  });
  assert.is(cheaper(costs([block(32, 1)], 2, 384, 384)), 'gram');
  assert.is(cheaper(costs([block(32, 128)], 2, 384, 384)), 'explicit');
  assert.is(cheaper(costs([block(32, 64)], 2, 8, 384)), 'explicit', "LoRA's factors are narrow");
});

test('costs count multiplications and additions', () => {
  // One row of 3 tokens, one class, p = 5, q = 7: gradients 2·3·5·7, Gram 2·5·7.
  assert.is(costs([{ rows: 1, tokens: 3, width: 3 }], 1, 5, 7).explicit, 2 * 3 * 35 + 2 * 35);
  // 1,000 rows with themselves take four bands of at most 256 rows, each computed as far as the
  // diagonal.
  const many = { rows: 1000, tokens: 1000, width: 1 };
  assert.is(
    costs([many], 1, 5, 7).explicit,
    2 * 1000 * 35 + 2 * (256 * 256 + 256 * 512 + 256 * 768 + 232 * 1000) * 35,
  );
  // For the 9 token pairs: q, then p for the one class pair and its sum over rows, and two passes
  // over the pairs.
  assert.is(
    costs([{ rows: 1, tokens: 3, width: 3 }], 1, 5, 7).gram,
    2 * 9 * (7 + 5 + 1) + 40 * 9 * 2,
  );
});

test('slices of a layer stay within memory and within one float32 sum', () => {
  assert.is(sliceWidth(384, 384, 64), 85); // 32768 / 384
  assert.is(sliceWidth(384, 384, 2048), 21); // 64 MiB / (4 · 384 · 2048)
  assert.is(sliceWidth(8, 384, 64), 8);
  assert.is(sliceWidth(384, 1e9, 64), 1);
});

test.run();
