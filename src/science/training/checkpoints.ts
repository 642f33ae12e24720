/** Which steps of a training are kept: `checkpoints/step-N/` in a train stage's output. */
import { existsSync } from 'node:fs';
import { cp, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { UserFault } from '../../api.ts';

/**
 * The folder of a step's checkpoint. Like the train stage's output, it has `adapter/` or `model/`.
 */
const checkpointPath = (step: number): string => `checkpoints/step-${step}`;

const ascending = (a: number, b: number): number => a - b;

/**
 * Returns the steps to keep, ascending and each once. `asked` lists them, or is the number k of
 * evenly spaced steps up to the last one: ⌈i·T/k⌉ for i = 1 … k and T = `total`. There are none if
 * k = 0, and all steps are kept if T < k. Throws UserFault for a listed step beyond `total`.
 */
export function checkpointSteps(asked: number | readonly number[], total: number): number[] {
  const steps =
    typeof asked === 'number'
      ? Array.from({ length: asked }, (_, i) => Math.ceil(((i + 1) * total) / asked))
      : asked;
  const beyond = steps.find((step) => step > total);
  if (beyond !== undefined)
    throw new UserFault(
      `train.checkpoints asks for step ${beyond}, but there are ${total} steps`,
      'Lower it, or train longer.',
    );
  return [...new Set(steps)].sort(ascending);
}

/**
 * Returns why `train.checkpoints` does not keep `step`. Null if it keeps the step, or if this can't
 * be told because the number of steps is unknown (`total` is null).
 */
export function notKeptReason(
  step: number,
  asked: number | readonly number[],
  total: number | null,
): string | null {
  if (asked === 0) return `step ${step} is not kept: train.checkpoints is 0`;
  const kept =
    typeof asked !== 'number'
      ? [...asked].sort(ascending)
      : total === null
        ? null
        : checkpointSteps(asked, total);
  if (kept === null || kept.includes(step)) return null;
  return `step ${step} is not kept: train.checkpoints keeps ${kept.join(', ')}`;
}

interface CheckpointFolder {
  /** Writes the folder of a step, completely or not at all. */
  write(step: number, save: (dir: string) => Promise<void>): Promise<void>;
  has(step: number): boolean;
  /** Copies the folders of all steps to `outDir`, unless they were written there. */
  deliver(outDir: string): Promise<void>;
}

/**
 * Returns the checkpoints below `keep`.
 * @param keep a folder that survives a kill of the stage; the stage's output if there is none
 */
export function checkpointFolder(keep: string): CheckpointFolder {
  const folderOf = (step: number): string => join(keep, checkpointPath(step));
  return {
    has: (step) => existsSync(folderOf(step)),
    write: async (step, save) => {
      const writing = join(keep, 'checkpoints', `.writing-${process.pid}`);
      await rm(writing, { recursive: true, force: true });
      await mkdir(writing, { recursive: true });
      await save(writing);
      await rm(folderOf(step), { recursive: true, force: true });
      await rename(writing, folderOf(step));
    },
    deliver: async (outDir) => {
      // Copied, not moved: a stage that is killed before its output is stored can still continue.
      if (keep !== outDir && existsSync(join(keep, 'checkpoints')))
        await cp(join(keep, 'checkpoints'), join(outDir, 'checkpoints'), {
          recursive: true,
          filter: (path) => !path.includes('.writing-'),
        });
    },
  };
}
