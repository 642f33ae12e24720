/**
 * The variance of LoRA's A as a spec writes it: a number, `k/d`, `k/(jd)` or `k/(j*d)`, where d is
 * the fan-in of the layer.
 */

const FRACTION = /^\s*(\d+(?:\.\d+)?)\s*\/\s*(?:d|\(\s*(\d+(?:\.\d+)?)\s*\*?\s*d\s*\))\s*$/;

/** Returns k and j of `k/(jd)`, with j = 1 for `k/d`. Null if the text has neither form. */
export function fractionOfFanIn(text: string): { readonly k: number; readonly j: number } | null {
  const fraction = FRACTION.exec(text);
  return fraction === null ? null : { k: Number(fraction[1]), j: Number(fraction[2] ?? 1) };
}
