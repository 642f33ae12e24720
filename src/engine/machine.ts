/** What this machine has for stages. */
import os from 'node:os';
import { visibleGpus } from '../compute/backend.ts';
import type { Machine } from '../execute/resources.ts';

/** All of its memory, or what a control group leaves of it. */
function memoryMB(): number {
  const limit = process.constrainedMemory(); // 0, or above any machine's: there is none
  return Math.floor(Math.min(os.totalmem(), limit > 0 ? limit : Infinity) / 2 ** 20);
}

/** @param cores that may be used. @param gpu whether the backend computes on GPUs */
export const thisMachine = (cores: number, gpu: boolean): Machine => ({
  cores,
  memoryMB: memoryMB(),
  gpus: visibleGpus(process.env),
  computesOnGpu: gpu,
});
