import { type Row, type RunContext, UserFault } from '../../../src/api.ts';
import { randomStream } from '../../../src/base/random.ts';
import { flooredShare } from '../../../src/base/rounding.ts';
import { readDatasetInfo, readRows, writeDataset } from '../../../src/data/rows-file.ts';
import { makeReceipt } from '../../../src/poisoning/receipt.ts';
import { inputDir, writeJson, writeMetrics } from '../shared/files.ts';
import type { Params } from './index.ts';

/**
 * Writes the clean rows in the same files as a poison stage writes its rows, so that a defence can
 * train on them. Throws `UserFault` if they would be all of the validation rows.
 */
export async function run(context: RunContext<Params>): Promise<void> {
  const { params, outDir, log } = context;
  const dir = inputDir(context, 'rows');
  const { classes } = await readDatasetInfo(dir);
  const all = await readRows(dir);
  const rows = params.share === null ? all : drawCleanRows(all, params.share);
  if (params.share !== null && rows.length === all.length)
    throw new UserFault(
      `the ${all.length} validation rows are all taken as clean rows: none is left to evaluate on`,
      'Take more validation rows, lower data.clean_share, or name other rows as data.clean.',
      ['data', 'validation'],
    );
  const untouched = { changed: [], negatives: [], asked: 0, eligible: 0 };
  await writeDataset(outDir, rows, classes);
  await writeJson(outDir, 'receipt.json', makeReceipt(rows, rows, untouched, 'none', {}, null));
  await writeJson(outDir, 'clean.json', {
    format: 1,
    from: params.share === null ? 'data.clean' : 'data.validation',
    rows: rows.length,
  });
  await writeMetrics(outDir, { rows_total: rows.length, negatives: 0 });
  log(`${rows.length} clean rows of ${all.length}`);
}

/**
 * Draws ⌊share·N⌋ of the N rows, but at least one, and returns them in the order of `rows`. The
 * draw is the same for all cells and seeds.
 */
function drawCleanRows(rows: readonly Row[], share: number): readonly Row[] {
  const count = Math.max(1, flooredShare(share, rows.length));
  const held = new Set(randomStream(0, 'defence.clean').permutation(rows.length).slice(0, count));
  return rows.filter((_, index) => held.has(index));
}
