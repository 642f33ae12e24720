/**
 * Hand-made rows and streams whose draws the test writes down, so that an attack's exact output can
 * be worked out by hand.
 */
import type { RandomStream, Row } from '../../src/api.ts';

/** `text → label`, ids r0, r1, … */
export const rowsOf = (...pairs: readonly (readonly [string, number])[]): Row[] =>
  pairs.map(([text, label], i) => ({ id: `r${i}`, text, label }));

/**
 * Returns streams whose draws the script lists by `purpose` or `purpose/name`: a permutation, or
 * the next integers, each checked to be in its range. A draw that the script does not list throws.
 */
export function scripted(script: {
  readonly [stream: string]: {
    readonly permutation?: readonly number[];
    readonly integers?: readonly number[];
  };
}) {
  return (purpose: string, name = ''): RandomStream => {
    const key = name === '' ? purpose : `${purpose}/${name}`;
    const draws = script[key];
    if (draws === undefined)
      throw new Error(`the attack drew from a stream that the test does not script: ${key}`);
    const integers = [...(draws.integers ?? [])];
    const refuse = (): never => {
      throw new Error(`unexpected draw from ${key}`);
    };
    return {
      uniform: refuse,
      normal: refuse,
      integer(n) {
        const value = integers.shift();
        if (value === undefined || value >= n)
          throw new Error(`${key}: drew an integer below ${n}, scripted ${String(value)}`);
        return value;
      },
      permutation(n) {
        if (draws.permutation?.length !== n) throw new Error(`${key}: drew a permutation of ${n}`);
        return Int32Array.from(draws.permutation);
      },
    };
  };
}
