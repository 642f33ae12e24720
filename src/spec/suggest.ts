/** The word somebody meant. */
import { distance } from 'fastest-levenshtein';

/** Case, hyphens and underscores are slips, not differences. */
const plain = (word: string): string => word.toLowerCase().replace(/[\s_-]/g, '');

/** The closest of some words if it is close enough to be a slip: a third of the word's letters. */
export function nearest(word: string, words: Iterable<string>): { readonly word: string; readonly distance: number } | null {
  const wanted = plain(word);
  let best: string | null = null, least = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of words) {
    const d = distance(wanted, plain(candidate));
    if (d < least) { least = d; best = candidate; }
  }
  return best === null ? null : { word: best, distance: least };
}

export const didYouMean = (word: string): string => `did you mean "${word}"?`;

const joined = (words: readonly string[], last: string): string =>
  words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} ${last} ${words.at(-1)!}`;

/** `a`, `a or b`, `a, b or c`. */
export const either = (words: readonly string[]): string => joined(words, 'or');

/** `a`, `a and b`, `a, b and c`. */
export const all = (words: readonly string[]): string => joined(words, 'and');
