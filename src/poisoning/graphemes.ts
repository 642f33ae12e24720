/** What readers see as characters: letters with their accents, emoji with their modifiers. */

/** Made when it is first used, because that takes milliseconds and every start loads this file. */
let clusters: Intl.Segmenter | null = null;

/** Returns the grapheme clusters of a text (Unicode UAX 29). Joined, they are the text. */
export const graphemesOf = (text: string): string[] =>
  Array.from(
    (clusters ??= new Intl.Segmenter('und', { granularity: 'grapheme' })).segment(text),
    ({ segment }) => segment,
  );

/** Whether a grapheme belongs to a word: it is anything but white space. */
export const isVisible = (grapheme: string): boolean => /\S/u.test(grapheme);
