/**
 * The variance of LoRA's A as a spec writes it: a number, `k/d`, `k/(jd)` or `k/(j*d)`, where d is
 * the fan-in of the layer.
 */

const FRACTION = /^\s*(\d+(?:\.\d+)?)\s*\/\s*(?:d|\(\s*(\d+(?:\.\d+)?)\s*\*?\s*d\s*\))\s*$/;

/** The two numbers of `k/(jd)`; j is 1 in `k/d`. Null if the text is neither. */
export function fractionOfFanIn(text: string): { readonly k: number; readonly j: number } | null {
  const fraction = FRACTION.exec(text);
  return fraction === null ? null : { k: Number(fraction[1]), j: Number(fraction[2] ?? 1) };
}
