/**
 * A relative tolerance: far above the error of a few roundings in double precision, and far below
 * any difference in a spec.
 */
const ROUNDING = 1e-12;

/**
 * Whether value < bound by more than the rounding of double precision. σ² = 1/d does not count as
 * below 1/d, however it was computed, although (1/49)·49 in floating point is below 1. Requires
 * bound > 0.
 */
export const strictlyBelow = (value: number, bound: number): boolean =>
  value < bound * (1 - ROUNDING);
