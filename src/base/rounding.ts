/**
 * Comparisons and floors that are as without floating-point errors, and percentages that are
 * rounded to neither 0% nor 100%.
 */

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

/** Writes a share to a tenth of a percent: `96.2%`. Only 0 is written as 0%, and only 1 as 100%. */
export function percentText(share: number): string {
  const tenths = Math.round(1000 * share);
  return `${(share === 0 || share === 1 ? tenths : Math.min(999, Math.max(1, tenths))) / 10}%`;
}
