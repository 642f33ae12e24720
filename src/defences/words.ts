/** Words are runs of non-space characters, as they are for the attacks. */
import type { Row } from '../api.ts';
import { defined } from '../base/defined.ts';

const WORD = /\S+/gu;

/** Returns the words of a text, in order; empty for a text without any. */
export const splitWords = (text: string): string[] => text.match(WORD) ?? [];

/**
 * Returns the text without the words that `drop` marks. The white space after a dropped word is
 * dropped too or, if only dropped words follow, that before it. Everything else stays as it is.
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

/** Returns the index after the word's last character; `otherwise` if there is no word. */
const endOf = (word: RegExpMatchArray | undefined, otherwise: number): number =>
  word?.index === undefined ? otherwise : word.index + word[0].length;

/** Returns the words of each text of the row: one list or, for a pair, two. */
export const rowWords = ({ text, text_pair: pair }: Row): string[][] =>
  pair === undefined ? [splitWords(text)] : [splitWords(text), splitWords(pair)];

/**
 * Returns the row with other texts. They are made of the words of its text and, if there is a
 * second list, of its second text, joined by single spaces. Without a second list, the second text
 * of a pair stays as it is.
 */
export const withWords = (row: Row, [text = [], pair]: readonly (readonly string[])[]): Row => ({
  ...row,
  text: text.join(' '),
  ...defined({ text_pair: pair?.join(' ') }),
});

/**
 * Returns a copy of the row for each word of its texts, without that word: first for the words of
 * the text, then for those of the second text. In both texts of a copy, all white space becomes
 * single spaces.
 */
export function withoutEachWord(row: Row): Row[] {
  const texts = rowWords(row);
  return texts.flatMap((words, which) =>
    words.map((_, i) =>
      withWords(
        row,
        texts.map((own, other) => (other === which ? own.toSpliced(i, 1) : own)),
      ),
    ),
  );
}
