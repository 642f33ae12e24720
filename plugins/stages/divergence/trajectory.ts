/**
 * The points of a training that can be measured: the checkpoints that its stage kept, and its end.
 */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Returns the steps, ascending, of the `checkpoints/step-N/` folders in a train stage's output;
 * empty where it kept none.
 */
export async function keptSteps(trainDir: string): Promise<number[]> {
  const folder = join(trainDir, 'checkpoints');
  if (!existsSync(folder)) return [];
  return (await readdir(folder))
    .flatMap((name) => {
      const step = /^step-(\d+)$/.exec(name)?.[1];
      return step === undefined ? [] : [Number(step)];
    })
    .sort((a, b) => a - b);
}
