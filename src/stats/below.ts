/** Far above what a handful of roundings in double precision adds, far below any difference that a spec writes. */
const ROUNDING = 1e-12;

/**
 * Whether value < bound beyond the rounding of double precision: σ² = 1/d is not below 1/d however it was computed,
 * though (1/49)·49 in floating point is below 1. bound > 0.
 */
export const strictlyBelow = (value: number, bound: number): boolean =>
  value < bound * (1 - ROUNDING);
