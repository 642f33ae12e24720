/** Draws a token from the logits of one position, as transformers' `generate` does. */
import type { RandomStream } from '../../random/random.ts';

/** How tokens are drawn. Without it, the likeliest token is taken (greedy decoding). */
export interface Sampling {
  /** Divides the logits. */
  readonly temperature: number;
  /** Only this many of the likeliest tokens are drawn from. Default: all. */
  readonly top_k?: number;
  /**
   * Only the likeliest tokens whose probabilities together reach this are drawn from (nucleus
   * sampling, Holtzman et al. 2020). Default: all.
   */
  readonly top_p?: number;
}

/** @param logits (V) */
export function drawToken(
  logits: Float32Array,
  { temperature, top_k: most = logits.length, top_p: share = 1 }: Sampling,
  random: RandomStream,
): number {
  const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
  const highest = logits[order[0]!]!;
  const likely = order
    .slice(0, most)
    .map((id) => ({ id, weight: Math.exp((logits[id]! - highest) / temperature) }));
  const total = likely.reduce((sum, { weight }) => sum + weight, 0);
  // The nucleus holds each token before which less than `share` of the probability lies.
  let before = 0,
    count = 0;
  while (count < likely.length && (count === 0 || before < share * total))
    before += likely[count++]!.weight;
  let left = random.uniform() * before;
  for (const { id, weight } of likely.slice(0, count)) {
    left -= weight;
    if (left < 0) return id;
  }
  return likely[count - 1]!.id;
}
