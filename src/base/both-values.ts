import type { Summary } from './stats.ts';

/**
 * Returns the two values that a summary of two seeds was made of, the smaller first; null for any
 * other number of seeds. Tables show them instead of the t interval, whose width is 12.7 times the
 * distance between the values. Not in stats.ts, because the page of `serve` must not load the
 * libraries that stats.ts imports.
 */
export function bothValues({ n, mean, std }: Summary): readonly [number, number] | null {
  if (n !== 2 || std === null) return null;
  const half = std / Math.SQRT2;
  return [mean - half, mean + half];
}
