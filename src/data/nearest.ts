import { distance } from 'fastest-levenshtein';

/** The closest of some words if it is close enough to be a typing error; else null. */
export function nearest(word: string, words: readonly string[]): string | null {
  // Two errors are accepted (swapped letters count as two), more in long words, and never a whole
  // short word.
  let best: string | null = null,
    least = Math.min(word.length, Math.max(2, Math.floor(word.length / 3)) + 1);
  for (const candidate of words) {
    const d = distance(word.toLowerCase(), candidate.toLowerCase());
    if (d < least) {
      least = d;
      best = candidate;
    }
  }
  return best;
}
