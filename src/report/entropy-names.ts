/** How Rényi entropies of order α are written and sorted. */
import { codePoints } from './format.ts';

const ALPHA_NAMES: Readonly<Record<string, string>> = { '0.5': '½', inf: '∞' };
const SUBSCRIPTS = '₀₁₂₃₄₅₆₇₈₉';
export const alphaName = (alpha: string): string => ALPHA_NAMES[alpha] ?? alpha;
/** `H₂`, `H½`, `H∞`. */
export function entropyName(alpha: string): string {
  const isWhole = /^\d+$/.test(alpha);
  const digits = codePoints(alpha).map((digit) => SUBSCRIPTS[Number(digit)]);
  return `H${isWhole ? digits.join('') : alphaName(alpha)}`;
}
export const alphaOrder = (a: string, b: string): number => {
  const value = (alpha: string): number => (alpha === 'inf' ? Infinity : Number(alpha));
  return value(a) - value(b) || 0;
};
