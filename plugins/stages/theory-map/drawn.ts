/** The map of closed-form.ts for one draw of A: moments of the spectrum of AᵀA, at every rank. */
import { drawA } from '../../adapters/lora/init.ts';
import type { Shape } from './closed-form.ts';

export interface DrawnMoments {
  readonly rank: number;
  /** Σλ = tr AAᵀ at variance 1; at variance σ² it is σ² times as large. */
  readonly sum: number;
  /** Σλ² = tr (AAᵀ)² at variance 1; at variance σ² it is σ⁴ times as large. */
  readonly sum_squares: number;
}

/**
 * @param ranks ascending; the rows of a lower rank are the first rows of a higher one, as in
 *   training
 * @param width d, A's columns
 */
export function drawnMoments(
  shape: Shape,
  ranks: readonly number[],
  width: number,
  seed: number,
): DrawnMoments[] {
  const most = ranks[ranks.length - 1] ?? 0;
  const A = drawA('theory-map', width, most, shape, 1, seed).data; // (most, d)
  const moments: DrawnMoments[] = [];
  let sum = 0,
    squares = 0,
    next = 0;
  for (let i = 0; i < most; i++) {
    // row i of AAᵀ adds its entries to those of the rows before
    for (let j = 0; j <= i; j++) {
      let product = 0;
      for (let k = 0; k < width; k++) product += A[i * width + k]! * A[j * width + k]!;
      squares += (i === j ? 1 : 2) * product ** 2;
      if (i === j) sum += product;
    }
    if (i + 1 === ranks[next]) {
      moments.push({ rank: i + 1, sum, sum_squares: squares });
      next++;
    }
  }
  return moments;
}
