/** What readers see as characters: letters with their accents, emoji with their modifiers. */

const CLUSTERS = new Intl.Segmenter('und', { granularity: 'grapheme' });

/** Returns the grapheme clusters of a text (Unicode UAX 29). Joined, they are the text. */
export const graphemesOf = (text: string): string[] =>
  Array.from(CLUSTERS.segment(text), ({ segment }) => segment);

/** Whether a grapheme belongs to a word: it is anything but white space. */
export const isVisible = (grapheme: string): boolean => /\S/u.test(grapheme);
