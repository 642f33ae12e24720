/** The cores, memory and GPUs of this machine that stages may take. */
import os from 'node:os';
import { visibleGpus } from '../tensor/backend.ts';
import type { Machine } from './execute/resources.ts';

/** Returns the machine's memory, or less if a control group limits it. */
function memoryMB(): number {
  // 0, or more than any machine has, if there is no limit.
  const limit = process.constrainedMemory();
  return Math.floor(Math.min(os.totalmem(), limit > 0 ? limit : Infinity) / 2 ** 20);
}

/**
 * @param cores the number of processor cores that may be used
 * @param gpu whether the backend computes on GPUs
 */
export const thisMachine = (cores: number, gpu: boolean): Machine => ({
  cores,
  memoryMB: memoryMB(),
  gpus: visibleGpus(process.env),
  computesOnGpu: gpu,
});
