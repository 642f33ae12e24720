/** TensorBoard event files, compared with TensorBoard's own writer (test/golden/event_files.py). */
import { readFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { crc32c, eventFile } from '../../../../src/science/training/tensorboard.ts';

test("CRC-32C has the values of the standard check and of RFC 3720's examples", () => {
  assert.is(crc32c(Buffer.from('123456789')), 0xe3069283);
  assert.is(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  assert.is(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43);
  assert.is(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e);
});

test('the bytes equal those that TensorBoard writes', async () => {
  const golden = await readFile(new URL('../../../golden/tensorboard.tfevents', import.meta.url));
  const ours = eventFile(
    [
      { tag: 'train/loss', step: 1, value: 0.6931471824645996, time: 1700000000.25 },
      { tag: 'evaluate/accuracy', step: 0, value: 0.5, time: 1700000000.25 },
      { tag: 'train/loss', step: 300, value: 1.5e-7, time: 1700000300.125 },
    ],
    1700000000,
  );
  assert.is(ours.toString('hex'), golden.toString('hex'));
});

test.run();
