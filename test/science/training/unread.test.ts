import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { at } from '../../../src/base/lookup.ts';
import {
  stepBatches,
  stepsPerEpoch,
  unreadWarning,
} from '../../../src/science/training/batches.ts';

test('a training that ends before the rows that stand last is warned of, with numbers', () => {
  const epoch = { rows: 176, batchSize: 8, accumulate: 1 };
  assert.is(
    unreadWarning(epoch, 17, 5),
    'training reads 0 of the 17 poisoned rows, which stand last: it ends at row 40 of 176, ' +
      'after step 5 of 22 in an epoch',
  );
  assert.match(unreadWarning(epoch, 17, 20) ?? '', /^training reads 1 of the 17 /);
  assert.is(unreadWarning(epoch, 17, 22), null);
  assert.is(unreadWarning(epoch, 0, 5), null);
});

test('the number of rows read is that of the batches', () => {
  for (const [rows, batchSize, accumulate, count] of [
    [23, 4, 1, 5],
    [23, 4, 2, 9],
    [12, 5, 3, 12],
  ] as const) {
    const last = Array.from({ length: count }, (_, i) => i);
    const order = { rows, batchSize, shuffle: true, seed: 3, last };
    for (let steps = 1; steps <= stepsPerEpoch({ rows, batchSize, accumulate }); steps++) {
      const each = stepBatches(order, accumulate);
      const read = new Set(
        Array.from({ length: steps }, () => each.next().value.map((batch) => [...batch])).flat(2),
      );
      const seen = last.filter((index) => read.has(index)).length;
      const said = unreadWarning({ rows, batchSize, accumulate }, count, steps);
      const found = said === null ? count : Number(at(said.split(' '), 2));
      assert.is(found, seen, `${rows} rows, ${steps} steps`);
    }
  }
});

test.run();
