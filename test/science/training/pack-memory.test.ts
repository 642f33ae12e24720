import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packMemoryMB } from '../../../src/science/training/forecast.ts';
import { checkpoint } from '../tiny-bert.ts';

const test = suite('memory of a pack');

test('it grows with the rows of a batch, those of an attack included', async () => {
  const train = { batch_size: 512, max_length: 53 };
  const alone = await packMemoryMB({ train }, checkpoint);
  assert.ok(Number.isInteger(alone) && alone > 0);
  const twice = { train: { ...train, batch_size: 1024 } };
  assert.ok((await packMemoryMB(twice, checkpoint)) > alone);
  const appended = await packMemoryMB({ train }, checkpoint, { rows: 512, appended: 512 });
  assert.ok(appended > alone);
});

test('a training of no steps needs no memory', async () => {
  assert.is(await packMemoryMB({ train: { steps: 0 } }, checkpoint), 0);
});

test.run();
