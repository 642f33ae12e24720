import { distance } from 'fastest-levenshtein';

/**
 * Returns the closest of some words if `word` could be a typing error for it, and otherwise null.
 */
export function nearest(word: string, words: readonly string[]): string | null {
  // Two errors are accepted, and more in long words, but never as many as a short word has letters.
  // Swapped letters count as two errors.
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
