/** Comparisons and whole numbers despite the rounding of double precision. */

/** A relative tolerance: far above a few roundings' error, far below differences in a spec. */
export const ROUNDING = 1e-12;

/** Means that differ by no more than this count as equal: the difference may be rounding alone. */
export const EQUAL_MEANS = 1e-9;

/** Whether value < bound by more than rounding: (1/49)·49 is not below 1. Requires bound > 0. */
export const strictlyBelow = (value: number, bound: number): boolean =>
  value < bound * (1 - ROUNDING);

/**
 * Returns ⌊share·total⌋ as without rounding errors: 29 for 0.29 · 100, although that product is
 * 28.999999999999996 in double precision.
 */
export function flooredShare(share: number, total: number): number {
  const product = share * total,
    nearest = Math.round(product);
  return Math.abs(product - nearest) <= ROUNDING * Math.max(1, nearest)
    ? nearest
    : Math.floor(product);
}
