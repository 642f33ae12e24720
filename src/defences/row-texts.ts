/** The one or two texts of a row as lists of words. Pure. */
import type { Row } from '../api.ts';
import { withoutWord, wordsOf } from './words.ts';

/** Returns the words of the row's text, and of its pair where it has one. */
export const rowWords = ({ text, text_pair: pair }: Row): string[][] =>
  pair === undefined ? [wordsOf(text)] : [wordsOf(text), wordsOf(pair)];

/** Returns the row with these words as its texts, joined by spaces. */
export const withWords = (row: Row, [text = [], pair]: readonly (readonly string[])[]): Row => ({
  ...row,
  text: text.join(' '),
  ...(pair === undefined ? {} : { text_pair: pair.join(' ') }),
});

/** Returns the row without each of its words in turn: those of its text, then those of its pair. */
export function withoutEachWord(row: Row): Row[] {
  const texts = rowWords(row);
  return texts.flatMap((words, which) =>
    words.map((_, i) =>
      withWords(
        row,
        texts.map((own, other) => (other === which ? withoutWord(own, i) : own)),
      ),
    ),
  );
}
