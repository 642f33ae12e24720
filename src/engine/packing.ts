/** How far packing goes unless told otherwise. */
import os from 'node:os';
import type { PackLimits } from '../execute/packer.ts';

/** More than this many bring little: their steps are long enough by then for what a step costs at least. */
export const PACK_MOST = 8;

/** Half of the machine's memory, in equal parts for the workers. @param jobs processor cores to use */
export const packMemoryMB = (jobs: number): number =>
  Math.floor(os.totalmem() / 2 ** 20 / 2 / jobs);

export const defaultPacking = (jobs: number): PackLimits => ({
  most: PACK_MOST,
  memoryMB: packMemoryMB(jobs),
});
