/** Everything that is compared in a grid. */
import { type AdapterComparison, compareAdapters } from './adapters.ts';
import type { Condition } from './conditions.ts';
import { compareKernels, type KernelComparison } from './kernels.ts';

export interface Comparisons {
  readonly adapters: readonly AdapterComparison[];
  readonly kernels: readonly KernelComparison[];
}

export const compareAll = (conditions: readonly Condition[]): Comparisons => ({
  adapters: compareAdapters(conditions),
  kernels: compareKernels(conditions),
});
