/** The default limits of packs. */
import type { PackLimits } from './execute/packer.ts';

export const DEFAULT_PACKING: PackLimits = { most: 8, memoryMB: 16_000 };
