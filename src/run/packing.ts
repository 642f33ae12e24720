/** The default limits of packing. */
import os from 'node:os';
import type { PackLimits } from './execute/packer.ts';

/**
 * The most stages in a pack. A larger pack gains little, because its steps are so long that the
 * fixed cost of a step no longer counts.
 */
export const PACK_MOST = 8;

/** The memory of a pack that runs elsewhere, whatever this machine has. */
export const PACK_MEMORY_ELSEWHERE_MB = 16_000;

/**
 * Returns half of the machine's memory, divided evenly among the workers.
 * @param jobs the number of processor cores to use
 */
export const packMemoryMB = (jobs: number): number =>
  Math.floor(os.totalmem() / 2 ** 20 / 2 / jobs);

export const defaultPacking = (jobs: number): PackLimits => ({
  most: PACK_MOST,
  memoryMB: packMemoryMB(jobs),
});
