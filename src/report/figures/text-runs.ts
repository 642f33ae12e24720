/**
 * Splits text into runs that a font can set, since the font may lack raised and lowered letters.
 */
import { codePoints } from '../format.ts';

/** Consecutive characters that are set in the same way. */
export interface Run {
  readonly text: string;
  readonly scale: number;
  /** How far the run is raised, in units of the font's size. */
  readonly rise: number;
  /** Whether the font lacks the character; it is drawn as an empty box. */
  readonly lacks: boolean;
}

const SUBSCRIPT = /[\u2080-\u209c\u1d62-\u1d6a\u2c7c]/;

/**
 * Returns how to set a character. A raised or lowered one that the font lacks is set as a small
 * plain one.
 */
function runOf(character: string, has: (character: string) => boolean): Run {
  if (has(character)) return { text: character, scale: 1, rise: 0, lacks: false };
  const plain = character.normalize('NFKC');
  if (plain === character || !codePoints(plain).every(has))
    return { text: character, scale: 1, rise: 0, lacks: true };
  return { text: plain, scale: 0.65, rise: SUBSCRIPT.test(character) ? -0.15 : 0.35, lacks: false };
}

/** @param has whether the font has a glyph for a character */
export function runsOf(words: string, has: (character: string) => boolean): readonly Run[] {
  const runs: Run[] = [];
  for (const character of words) {
    const run = runOf(character, has),
      last = runs.at(-1);
    if (last && !last.lacks && !run.lacks && last.rise === run.rise)
      runs[runs.length - 1] = { ...last, text: last.text + run.text };
    else runs.push(run);
  }
  return runs;
}

/** PDFKit's own name for the font in use; its typings lack it. */
interface WithFont {
  readonly _font: { readonly font: { hasGlyphForCodePoint(code: number): boolean } };
}

/** Whether the document's current font has a glyph for a character. */
export const hasGlyph = (doc: PDFKit.PDFDocument, character: string): boolean =>
  (doc as PDFKit.PDFDocument & WithFont)._font.font.hasGlyphForCodePoint(
    character.codePointAt(0) ?? 0,
  );
