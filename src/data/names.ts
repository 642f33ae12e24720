import { distance } from 'fastest-levenshtein';
import picomatch from 'picomatch';

/** Returns the word of `words` that `word` is most likely a misspelling of; null if of none. */
export function nearest(word: string, words: readonly string[]): string | null {
  // A misspelling has at most 2 errors, or a third of the letters if that is more, and fewer errors
  // than letters. Two swapped letters count as two errors.
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

/** Returns at most `most` of the names, and how many more there are: `a.tsv, b.tsv and 3 more`. */
export function firstNames(names: readonly string[], most = 8): string {
  const first = names.slice(0, most).join(', ');
  return names.length > most ? `${first} and ${names.length - most} more` : first;
}

/** Whether a path is a glob: has one of the characters `*?[]{}`. */
export const isGlob = (path: string): boolean => /[*?[\]{}]/.test(path);

export function matching(names: readonly string[], glob: string): string[] {
  const matches = picomatch(glob);
  return names.filter((name) => matches(name)); // `matches` must not get the index
}
