import type { Packing } from '../../../src/api.ts';
import { findModelDir } from '../../../src/data/model-folder.ts';
import { packMemoryMB } from '../../../src/science/train/pack-memory.ts';
import { assetOf, metricOf, readMetrics } from '../../../src/stages/files.ts';
import type { Params } from './params.ts';

type Stage = Parameters<NonNullable<Packing<Params>['memoryMB']>>[0];

/** Returns the memory that one more training adds to a pack, in MB. */
export async function memoryMB(stage: Stage): Promise<number> {
  const data = stage.inputs?.['data'];
  return packMemoryMB(
    stage.params,
    await findModelDir(assetOf(stage, 'model').path),
    data === undefined ? undefined : await setCounts(data.dir),
  );
}

/**
 * Returns the numbers of rows in a poison stage's set: all of the original ones, and those that the
 * attack appended.
 */
async function setCounts(dir: string): Promise<{ rows: number; appended: number }> {
  const metrics = await readMetrics(dir);
  const appended = metricOf(metrics, 'negatives');
  return { rows: metricOf(metrics, 'rows_total') - appended, appended };
}
