/** The word somebody meant. */
import { distance } from 'fastest-levenshtein';

/** Case, hyphens and underscores are slips, not differences. */
const plain = (word: string): string => word.toLowerCase().replace(/[\s_-]/g, '');

const letters = (word: string): string => [...word].sort().join('');

/**
 * The closest of some words if it is close enough to be a slip: a third of the word's letters, letters in another order,
 * or an abbreviation that only one word begins with.
 */
export function nearest(
  word: string,
  words: Iterable<string>,
): { readonly word: string; readonly distance: number } | null {
  const wanted = plain(word),
    all = [...words];
  let best: string | null = null,
    least = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of all) {
    const other = plain(candidate),
      d = distance(wanted, other);
    const slip = d === 2 && letters(wanted) === letters(other) ? 1 : d; // two letters swapped are one slip
    if (slip < least) {
      least = slip;
      best = candidate;
    }
  }
  if (best !== null) return { word: best, distance: least };
  const longer =
    wanted.length < 3 ? [] : all.filter((candidate) => plain(candidate).startsWith(wanted));
  return longer.length === 1
    ? { word: longer[0]!, distance: plain(longer[0]!).length - wanted.length }
    : null;
}

export const didYouMean = (word: string): string => `did you mean "${word}"?`;

const joined = (words: readonly string[], last: string): string =>
  words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} ${last} ${words.at(-1)!}`;

/** `a`, `a or b`, `a, b or c`. */
export const either = (words: readonly string[]): string => joined(words, 'or');

/** `a`, `a and b`, `a, b and c`. */
export const all = (words: readonly string[]): string => joined(words, 'and');
