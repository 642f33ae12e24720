/** Which steps of a training are kept, and where: `checkpoints/step-N/` in a train stage's output. */
import { existsSync } from 'node:fs';
import { cp, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { UserFault } from '../../api.ts';

/** The folder within a train stage's output; it holds `adapter/` or `model/`, as the output itself does for the last step. */
export const checkpointPath = (step: number): string => `checkpoints/step-${step}`;

/**
 * The steps asked for, ascending: those listed, or k that part the training evenly, the last step among them (⌈i·T/k⌉,
 * i = 1 … k; of a training of fewer steps, every one). Throws UserFault at a step that the training never reaches.
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
  return [...new Set(steps)].sort((a, b) => a - b);
}

/** Why a training that keeps these will not keep `step`, or null; `total` is null where it is not known yet, and what depends on it may pass. */
export function notKept(
  step: number,
  asked: number | readonly number[],
  total: number | null,
): string | null {
  if (asked === 0) return `step ${step} is not kept: train.checkpoints is 0`;
  if (typeof asked === 'number' && total === null) return null;
  const kept = typeof asked === 'number' ? checkpointSteps(asked, total!) : asked;
  return kept.includes(step)
    ? null
    : `step ${step} is not kept: train.checkpoints keeps ${[...kept].sort((a, b) => a - b).join(', ')}`;
}

export interface CheckpointFolder {
  /** Writes a step's folder, whole or not at all. */
  write(step: number, save: (dir: string) => Promise<void>): Promise<void>;
  has(step: number): boolean;
  /** Puts the folders into a stage's output. */
  deliver(outDir: string): Promise<void>;
}

/** @param keep where they wait until the training is done: a folder that outlives a kill, or the output itself */
export function checkpointFolder(keep: string): CheckpointFolder {
  const of = (step: number): string => join(keep, checkpointPath(step));
  return {
    has: (step) => existsSync(of(step)),
    write: async (step, save) => {
      const writing = join(keep, 'checkpoints', `.writing-${process.pid}`);
      await rm(writing, { recursive: true, force: true });
      await mkdir(writing, { recursive: true });
      await save(writing);
      await rm(of(step), { recursive: true, force: true });
      await rename(writing, of(step));
    },
    deliver: async (outDir) => {
      // A copy: should the stage be cut off before its output is stored, they are still where it goes on from.
      if (keep !== outDir && existsSync(join(keep, 'checkpoints'))) {
        await cp(join(keep, 'checkpoints'), join(outDir, 'checkpoints'), {
          recursive: true,
          filter: (path) => !path.includes('.writing-'),
        });
      }
    },
  };
}
