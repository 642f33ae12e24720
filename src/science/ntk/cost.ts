/** Which contraction is the cheaper: counted floating-point operations, the rectangles' padding included. */
import type { Contraction } from './contraction.ts';
import { explicit } from './explicit.ts';
import { gram } from './gram.ts';
import { plain } from './plain.ts';

export const contractions = { plain, explicit, gram } satisfies Record<string, Contraction>;
export type Method = keyof typeof contractions;

export interface BlockShape {
  readonly rows: number; // R
  readonly tokens: number; // S
  /** Tokens of its longest row. */
  readonly width: number; // T
}

/** Gradients of every row and class, then their Gram matrix. */
export function explicitCost(blocks: readonly BlockShape[], classes: number, p: number, q: number): number {
  const rows = blocks.reduce((sum, block) => sum + block.rows, 0);
  const gradients = blocks.reduce((sum, block) => sum + 2 * block.rows * block.width * classes * p * q, 0);
  return gradients + 2 * (rows * classes) ** 2 * p * q;
}

/** Two inner products a token pair, the second for each pair of classes, and the sums over rows; half by symmetry. */
export function gramCost(blocks: readonly BlockShape[], classes: number, p: number, q: number): number {
  let cost = 0;
  blocks.forEach((left, x) => blocks.slice(0, x + 1).forEach((right, y) => {
    const pairs = left.tokens * right.tokens;
    const classPairs = x === y ? classes * (classes + 1) / 2 : classes ** 2;
    cost += 2 * pairs * (q + classPairs * (p + left.rows + 1));
  }));
  return cost;
}

export function cheaper(blocks: readonly BlockShape[], classes: number, p: number, q: number): Method {
  return gramCost(blocks, classes, p, q) < explicitCost(blocks, classes, p, q) ? 'gram' : 'explicit';
}
