import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Packing } from '../../../src/api.ts';
import { findModelDir } from '../../../src/data/model-folder.ts';
import { readDatasetInfo } from '../../../src/data/rows-file.ts';
import { packMemoryMB } from '../../../src/science/training/forecast.ts';
import { assetOf, metricOf, readMetrics } from '../shared/files.ts';
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
 * Returns the numbers of rows in a training set: all of the original ones, and those that an attack
 * appended. A `data` stage, which a clean training may read, has no metrics and appends nothing.
 */
async function setCounts(dir: string): Promise<{ rows: number; appended: number }> {
  if (!existsSync(join(dir, 'metrics.json'))) {
    const { rows } = await readDatasetInfo(dir);
    return { rows, appended: 0 };
  }
  const metrics = await readMetrics(dir);
  const appended = metricOf(metrics, 'negatives');
  return { rows: metricOf(metrics, 'rows_total') - appended, appended };
}
