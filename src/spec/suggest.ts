/** Guesses which word the user meant. */
import { distance } from 'fastest-levenshtein';

/** Returns the word without case, hyphens and underscores, which are easily mixed up. */
const plain = (word: string): string => word.toLowerCase().replace(/[\s_-]/g, '');

const sortedLetters = (word: string): string => Array.from(word).sort().join('');

/**
 * Returns the one of `words` that may have been meant by `word`, and in how many letters the two
 * differ (two swapped letters count as one); null if there is none. This is the closest word that
 * differs in one letter, in at most a third of the letters, or by two swapped letters; otherwise
 * the only word that begins with `word`, if `word` has at least three letters.
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
      edits = distance(wanted, other);
    // Two swapped letters, which are two edits, count as one slip.
    const slips = edits === 2 && sortedLetters(wanted) === sortedLetters(other) ? 1 : edits;
    if (slips < least) {
      least = slips;
      best = candidate;
    }
  }
  if (best !== null) return { word: best, distance: least };
  const [longer, another] =
    wanted.length < 3 ? [] : all.filter((candidate) => plain(candidate).startsWith(wanted));
  return longer !== undefined && another === undefined
    ? { word: longer, distance: plain(longer).length - wanted.length }
    : null;
}

/** Returns a hint with the words: `did you mean "a"?`, `did you mean "a" or "b"?`. */
export const didYouMean = (...words: readonly string[]): string =>
  `did you mean ${either(words.map((word) => `"${word}"`))}?`;

/** Returns a hint with the nearest of some words; undefined if none is near. */
export function suggest(word: string, words: Iterable<string>): string | undefined {
  const close = nearest(word, words);
  return close ? didYouMean(close.word) : undefined;
}

/** Returns the words with commas, and `last` before the last of them. */
const joinWords = (words: readonly string[], last: string): string =>
  words.length < 2
    ? words.join('')
    : `${words.slice(0, -1).join(', ')} ${last} ${words.slice(-1).join('')}`;

/** Returns the words as `a`, `a or b`, or `a, b or c`. */
export const either = (words: readonly string[]): string => joinWords(words, 'or');

/** Returns the words as `a`, `a and b`, or `a, b and c`. */
export const all = (words: readonly string[]): string => joinWords(words, 'and');
