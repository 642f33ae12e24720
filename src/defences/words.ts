/** Words as defences see them: runs of non-space characters, as for the attacks. Pure. */

const WORD = /\S+/gu;

/** Returns the words of a text. */
export const wordsOf = (text: string): string[] => text.match(WORD) ?? [];

/** Returns the words without the i-th. */
export const withoutWord = (words: readonly string[], i: number): string[] => [
  ...words.slice(0, i),
  ...words.slice(i + 1),
];

/**
 * Returns the text without some of its words, each with the white space after it, or before it
 * where no word follows. Everything else stays as it is.
 * @param drop for each word of the text, whether it is left out
 * @throws RangeError unless there is one value for each word
 */
export function withoutWords(text: string, drop: readonly boolean[]): string {
  const words = [...text.matchAll(WORD)];
  if (words.length !== drop.length)
    throw new RangeError(
      `a text of ${words.length} words needs as many values, not ${drop.length}`,
    );
  const lead = text.slice(0, words[0]?.index ?? text.length),
    tail = text.slice(endOf(words.at(-1), text.length));
  let out = '',
    between = '';
  words.forEach((word, i) => {
    const next = words[i + 1];
    if (drop[i] === true) return;
    out += between + word[0];
    between = next === undefined ? '' : text.slice(endOf(word, 0), next.index);
  });
  return lead + out + tail;
}

const endOf = (word: RegExpMatchArray | undefined, otherwise: number): number =>
  word?.index === undefined ? otherwise : word.index + word[0].length;
