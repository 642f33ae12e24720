/** Comparisons and whole numbers despite the rounding of double precision. */

/** A relative tolerance: far above a few roundings' error, far below differences in a spec. */
export const ROUNDING = 1e-12;

/** Whether value < bound by more than rounding: (1/49)·49 is not below 1. Requires bound > 0. */
export const strictlyBelow = (value: number, bound: number): boolean =>
  value < bound * (1 - ROUNDING);

/** ⌊share·total⌋, where rounding counts as nothing: 0.29 · 100 is 29, not 28.999999999999996. */
export function flooredShare(share: number, total: number): number {
  const product = share * total,
    nearest = Math.round(product);
  return Math.abs(product - nearest) <= ROUNDING * Math.max(1, nearest)
    ? nearest
    : Math.floor(product);
}
