/** LoRA's α as a spec writes it. */

/**
 * A multiple of the rank, which a spec may write instead of a number: `r`, `2r`, `0.5r`, `r/2`,
 * `3r/2`.
 */
export const ALPHA_OF_RANK =
  '^([1-9][0-9]*(\\.[0-9]+)?|0?\\.[0-9]*[1-9][0-9]*)?r(/[1-9][0-9]*(\\.[0-9]+)?)?$';

/**
 * Returns α as a number for a layer of this rank. Throws an Error if a string does not match
 * `ALPHA_OF_RANK`, which the spec's schema has already checked.
 */
export function alphaOf(alpha: number | string, rank: number): number {
  if (typeof alpha === 'number') return alpha;
  if (!new RegExp(ALPHA_OF_RANK).test(alpha))
    throw new Error(`alpha is not a multiple of r: ${alpha}`);
  const [factor, divisor = '1'] = alpha.split(/r\/?/);
  return ((factor === '' ? 1 : Number(factor)) * rank) / (divisor === '' ? 1 : Number(divisor));
}
