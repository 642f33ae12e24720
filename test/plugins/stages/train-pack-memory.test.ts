/** What a training adds to a pack, by the stage that it has its rows from. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { memoryMB } from '../../../plugins/stages/train/forecast.ts';
import { checkpoint } from '../../science/tiny-bert.ts';

test('rows of a data stage, which has no metrics, take what those of a clean stage take', async () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-'));
  const folder = (name: string, file: string, content: object): string => {
    const made = path.join(dir, name);
    mkdirSync(made);
    writeFileSync(path.join(made, file), JSON.stringify(content));
    return made;
  };
  const memoryOf = (data: string): Promise<number> =>
    memoryMB({
      params: { train: { epochs: 1, batch_size: 4, max_length: 8 } } as never,
      assets: { model: { path: checkpoint, digest: 'tiny-bert' } } as never,
      inputs: { data: { dir: data } } as never,
    });
  const info = { task: 'classes', classes: ['a', 'b'], rows: 20, counts: [10, 10] };
  const found = await memoryOf(folder('data', 'dataset.json', info));
  assert.ok(found > 0, String(found));
  assert.is(
    found,
    await memoryOf(folder('clean', 'metrics.json', { rows_total: 20, negatives: 0 })),
  );
});

test.run();
