/**
 * Chooses the cheaper contraction by counting floating-point operations, including those on the
 * rectangles' padding.
 */
import type { Contraction, TermBlock } from './contraction.ts';
import { explicit, GRAM_ROWS } from './explicit.ts';
import { gram } from './gram.ts';
import { plain } from './plain.ts';

export const contractions = { plain, explicit, gram } satisfies Record<string, Contraction>;
export type Method = keyof typeof contractions;

export interface BlockShape {
  readonly rows: number; // R
  readonly tokens: number; // S
  /** Tokens of the longest row. */
  readonly width: number; // T
}

export interface Costs {
  readonly explicit: number;
  readonly gram: number;
}

export function shapeOf({ example, rows }: Pick<TermBlock, 'example' | 'rows'>): BlockShape {
  const counts = new Int32Array(rows.length);
  example.forEach((k) => {
    counts[k]!++;
  });
  return {
    rows: rows.length,
    tokens: example.length,
    width: counts.reduce((a, b) => Math.max(a, b), 1),
  };
}

/**
 * How many multiplications inside a matrix product, which stay in registers, take the time of one
 * elementwise operation on an entry of a token-pair matrix, which passes through memory.
 */
const ENTRY = 40;

/**
 * Cost of the gradients of every row and class, then their Gram matrix; half of it for a set with
 * itself.
 */
export function explicitCost(
  left: readonly BlockShape[],
  right: readonly BlockShape[] | null,
  classes: number,
  p: number,
  q: number,
): number {
  const rows = (blocks: readonly BlockShape[]): number =>
    blocks.reduce((sum, block) => sum + block.rows, 0) * classes;
  const gradients = [...left, ...(right ?? [])].reduce(
    (sum, block) => sum + 2 * block.rows * block.width * classes * p * q,
    0,
  );
  const height = rows(left),
    width = right === null ? 0 : rows(right);
  let products = height * width;
  if (right === null)
    for (let top = 0; top < height; top += GRAM_ROWS)
      products += Math.min(GRAM_ROWS, height - top) * Math.min(height, top + GRAM_ROWS);
  return gradients + 2 * products * p * q;
}

/**
 * Cost of two inner products per token pair, the second for each pair of classes, and of the sums
 * over rows; half of it by symmetry.
 */
export function gramCost(
  left: readonly BlockShape[],
  right: readonly BlockShape[] | null,
  classes: number,
  p: number,
  q: number,
): number {
  let cost = 0;
  left.forEach((x, i) =>
    (right ?? left.slice(0, i + 1)).forEach((y, j) => {
      const pairs = x.tokens * y.tokens;
      const classPairs = right === null && i === j ? (classes * (classes + 1)) / 2 : classes ** 2;
      cost += 2 * pairs * (q + classPairs * (p + x.rows)) + ENTRY * pairs * (1 + classPairs);
    }),
  );
  return cost;
}

export const costs = (
  left: readonly BlockShape[],
  right: readonly BlockShape[] | null,
  classes: number,
  p: number,
  q: number,
): Costs => ({
  explicit: explicitCost(left, right, classes, p, q),
  gram: gramCost(left, right, classes, p, q),
});

export const cheaper = ({ explicit: byGradients, gram: byPairs }: Costs): 'explicit' | 'gram' =>
  byPairs < byGradients ? 'gram' : 'explicit';
