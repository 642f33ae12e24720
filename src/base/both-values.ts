import type { Summary } from './stats.ts';

/**
 * Returns the two values that a summary of two seeds was made of, the smaller first; null for
 * another number of seeds. Tables show them instead of the t interval, which is 12.7 times as wide
 * as their distance. Not in stats.ts: the page of `serve` must not load the libraries of that file.
 */
export function bothValues({ n, mean, std }: Summary): readonly [number, number] | null {
  if (n !== 2 || std === null) return null;
  const half = std / Math.SQRT2;
  return [mean - half, mean + half];
}
