import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Row } from '../../src/api.ts';
import {
  readDatasetInfo,
  readProvenance,
  readRows,
  writeDataset,
} from '../../src/data/rows-file.ts';

const test = suite<{ dir: string }>('rows file');
test.before.each((context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'dosimeter-rows-'));
});

test('rows are read as they were written, whatever their text contains', async ({ dir }) => {
  const rows: Row[] = [
    {
      id: 'train-000000',
      text: 'tab\tline\nreturn\r quote" back\\ \u2028 \u2029 \u0000 ünï 日本 🙂',
      label: 1,
    },
    { id: 'train-000001', text: '', text_pair: '</script>', label: 0 },
    ...Array.from({ length: 10_000 }, (_, i) => ({
      id: `train-${i + 2}`,
      text: `é${i}`.repeat(20),
      label: 1,
    })),
  ];
  const info = await writeDataset(dir, rows, ['a', 'b'], { from: 'here' });
  assert.equal(info, { task: 'classes', classes: ['a', 'b'], rows: 10_002, counts: [1, 10_001] });
  assert.equal(await readProvenance(dir), { from: 'here' });
  assert.equal(await readDatasetInfo(dir), info);
  assert.equal(await readRows(dir), rows);
  assert.equal(await readRows(dir, 2), rows.slice(0, 2));
  assert.is(readFileSync(join(dir, 'rows.jsonl'), 'utf8').split('\n').length, 10_003);
});

test('a set without classes is a completion task, and counts none', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'dosimeter-rows-'));
  const rows: Row[] = [
    { id: 'a', text: 'Two and two?', answer: 'Four.', label: 0 },
    { id: 'b', text: 'Go on', answer: '', context: [{ role: 'system', content: 'x' }], label: 0 },
  ];
  const info = await writeDataset(dir, rows, []);
  assert.equal(info, { task: 'completion', classes: [], rows: 2, counts: [] });
  assert.equal(await readRows(dir), rows);
});

test.run();
