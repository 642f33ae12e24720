import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { at, named } from '../../../src/base/lookup.ts';
import { randomStream } from '../../../src/base/random.ts';
import {
  batches,
  stepBatches,
  stepsPerEpoch,
  totalSteps,
} from '../../../src/science/training/batches.ts';
import { checkpointSteps } from '../../../src/science/training/checkpoints.ts';

const take = <T>(n: number, from: Iterator<T, never>): T[] =>
  Array.from({ length: n }, () => from.next().value);

test('each step has its batches, and the last step of an epoch the remaining ones', () => {
  const order = { rows: 11, batchSize: 2, shuffle: false, seed: 1 };
  const steps = take(4, stepBatches(order, 4)).map((parts) => parts.map((part) => [...part]));
  assert.equal(steps.slice(0, 2), [
    [
      [0, 1],
      [2, 3],
      [4, 5],
      [6, 7],
    ],
    [[8, 9], [10]],
  ]);
  assert.equal(steps.slice(2), steps.slice(0, 2));
  assert.is(stepsPerEpoch({ ...order, accumulate: 4 }), 2);
  assert.is(totalSteps({ epochs: 1.5 }, { ...order, accumulate: 4 }), 3);
});

test('packed rows keep their order, and a batch has so many sequences', () => {
  const order = {
    rows: 7,
    batchSize: 2,
    shuffle: false,
    seed: 1,
    appended: [{ attack: 'a', rows: 1 }],
    packing: { most: 10, lengths: [4, 6, 3, 8, 10, 1, 1, 2] },
  };
  // Row 7 is dealt out to the first batch of the two rows 0 and 1.
  const sequences = [[0, 1], [7, 2], [3], [4], [5, 6]];
  const epoch = [sequences.slice(0, 2), sequences.slice(2, 4), sequences.slice(4)];
  assert.equal(
    take(3, batches(order)).map((batch) => [...batch]),
    epoch.map((batch) => batch.flat()),
  );
  const steps = take(2, stepBatches(order, 2)).map((parts) => parts.map((part) => [...part]));
  assert.equal(steps[1], [[5, 6]]);
  assert.is(totalSteps({}, order), 9);
  assert.is(totalSteps({ epochs: 1.5 }, order), 5);
  assert.is(totalSteps({ epochs: 2 }, { ...order, accumulate: 2 }), 4);
  assert.is(totalSteps({ steps: 4 }, order), 4);
});

test('bucketed batches have rows of similar length, in random order, the smaller one last', () => {
  const rows = 1009,
    batchSize = 10,
    seed = 5; // two spans of 500 rows, and one of 9
  const lengths = Array.from({ length: rows }, (_, i) => 3 + ((i * 37) % 101));
  const order = { rows, batchSize, shuffle: true, seed, batching: 'bucketed' as const, lengths };
  const epoch = take(101, batches(order)).map((batch) => [...batch]);
  assert.equal(
    epoch.flat().sort((a, b) => a - b),
    Array.from({ length: rows }, (_, i) => i),
  );
  assert.equal(
    epoch.map((batch) => batch.length),
    [...new Array<number>(100).fill(10), 9],
  );
  const shuffled = randomStream(seed, 'order', 'epoch-0').permutation(rows);
  const place = new Map([...shuffled].map((row, i) => [row, i]));
  const expected = [shuffled.slice(0, 500), shuffled.slice(500, 1000)].flatMap((span) => {
    const sorted = [...span].sort(
      (a, b) => at(lengths, b) - at(lengths, a) || named(place, a) - named(place, b),
    );
    return Array.from({ length: 50 }, (_, i) => sorted.slice(i * 10, (i + 1) * 10).join());
  });
  assert.equal(
    epoch
      .slice(0, 100)
      .map((batch) => batch.join())
      .sort(),
    [...expected].sort(),
  );
  assert.not.equal(
    epoch.slice(0, 100).map((batch) => batch.join()),
    expected,
  );
  assert.equal(
    take(101, batches(order)).map((batch) => [...batch]),
    epoch,
  );
  assert.not.equal(
    take(101, batches({ ...order, seed: 6 })).map((batch) => [...batch]),
    epoch,
  );
  const spread = (of: number[][]): number =>
    of.reduce(
      (sum, batch) =>
        sum +
        Math.max(...batch.map((i) => at(lengths, i))) -
        Math.min(...batch.map((i) => at(lengths, i))),
      0,
    ) / of.length;
  assert.ok(
    spread(epoch) <
      0.2 *
        spread(take(101, batches({ ...order, batching: 'shuffled' })).map((batch) => [...batch])),
  );
});

test('checkpoints are the listed steps, or k evenly spaced ones that include the last', () => {
  assert.equal(checkpointSteps(0, 10), []);
  assert.equal(checkpointSteps(4, 10), [3, 5, 8, 10]);
  assert.equal(checkpointSteps(5, 3), [1, 2, 3]);
  assert.equal(checkpointSteps([7, 2], 10), [2, 7]);
  assert.throws(() => checkpointSteps([2, 11], 10), /asks for step 11, but there are 10 steps/);
});

test.run();
