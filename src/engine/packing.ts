/** The default limits of packing. */
import os from 'node:os';
import type { PackLimits } from '../execute/packer.ts';

/**
 * A larger pack gains little: its steps are long enough that the fixed cost of a step no longer
 * counts.
 */
export const PACK_MOST = 8;

/**
 * Half of the machine's memory, divided evenly among the workers.
 * @param jobs processor cores to use
 */
export const packMemoryMB = (jobs: number): number =>
  Math.floor(os.totalmem() / 2 ** 20 / 2 / jobs);

export const defaultPacking = (jobs: number): PackLimits => ({
  most: PACK_MOST,
  memoryMB: packMemoryMB(jobs),
});
