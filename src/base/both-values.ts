import type { Summary } from './stats.ts';

/**
 * Returns the two values behind a summary of two seeds, the smaller first, or null for any other
 * number. Tables show these instead of the t interval, which has one degree of freedom and is 12.7
 * times as wide as the two lie apart. It is not in stats.ts, because the page of `serve` loads it
 * and must not load the libraries there.
 */
export function bothValues({ n, mean, std }: Summary): readonly [number, number] | null {
  if (n !== 2 || std === null) return null;
  const half = std / Math.SQRT2;
  return [mean - half, mean + half];
}
