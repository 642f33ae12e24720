/**
 * Random streams. A stream is given by (seed, purpose, name) alone, and does not depend on the cell
 * (docs/theory.md, Randomness).
 */
import { createHash } from 'node:crypto';
import { xoroshiro128plusFromState } from 'pure-rand/generator/xoroshiro128plus';

export interface RandomStream {
  /** Uniform in [0, 1), 53 bits. */
  readonly uniform: () => number;
  /** Uniform integer in [0, n). */
  readonly integer: (n: number) => number;
  /** Standard normal. */
  readonly normal: () => number;
  /**
   * A random permutation of 0 … n−1. Its first k entries are a sample without replacement, which
   * contains the samples of all smaller k.
   */
  readonly permutation: (n: number) => Int32Array;
}

export interface ResumableStream extends RandomStream {
  /** Returns the stream's position, for `resumeStream`. */
  readonly state: () => StreamState;
}
/**
 * The generator's four 32-bit words, then the spare number: the second of the last pair of normal
 * draws, or null if it is used up.
 */
export type StreamState = readonly (number | null)[];

/** Returns the stream of (seed, purpose, name). Different triples give independent streams. */
export function randomStream(seed: number, purpose: string, name = ''): ResumableStream {
  // The pre-image is a JSON array, so that no two triples share one.
  const hash = createHash('sha256')
    .update(JSON.stringify(['dosimeter.random/1', seed, purpose, name]))
    .digest();
  // pure-rand itself would seed from 32 bits. Here the digest sets all 128 bits of the state, which
  // must not all be 0: hence the `| 1`.
  return resumeStream([
    hash.readInt32LE(0),
    hash.readInt32LE(4),
    hash.readInt32LE(8),
    hash.readInt32LE(12) | 1,
    null,
  ]);
}

/** Returns a stream that goes on from the position that another stream's `state` has returned. */
export function resumeStream(from: StreamState): ResumableStream {
  const generator = xoroshiro128plusFromState(from.slice(0, 4) as number[]);
  const uniform = (): number => {
    const high = generator.next() >>> 5,
      low = generator.next() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53; // 27 and 26 bits
  };
  const integer = (n: number): number => {
    if (!Number.isInteger(n) || n < 1)
      throw new RangeError(`integer(n) needs a whole n ≥ 1, got ${n}`);
    return Math.floor(uniform() * n);
  };
  let spare = from[4] ?? null;
  const normal = (): number => {
    if (spare !== null) {
      const z = spare;
      spare = null;
      return z;
    }
    for (;;) {
      // Marsaglia's polar method.
      const u = 2 * uniform() - 1,
        v = 2 * uniform() - 1,
        q = u * u + v * v;
      if (q > 0 && q < 1) {
        const f = Math.sqrt((-2 * Math.log(q)) / q);
        spare = v * f;
        return u * f;
      }
    }
  };
  const permutation = (n: number): Int32Array => {
    // Fisher–Yates from the front, so that the first entries are nested samples.
    const order = Int32Array.from({ length: n }, (_, i) => i);
    for (let i = 0; i < n - 1; i++) {
      const j = i + integer(n - i);
      const t = order[i]!;
      order[i] = order[j]!;
      order[j] = t;
    }
    return order;
  };
  return { uniform, integer, normal, permutation, state: () => [...generator.getState(), spare] };
}

/**
 * Returns a function that gives an attack's stream for a purpose and a name. The streams are the
 * same at every dose and in every cell.
 */
export const attackStreams =
  (seed: number, attack: string) =>
  (purpose: string, name = ''): RandomStream =>
    randomStream(seed, `attack.${attack}.${purpose}`, name);
