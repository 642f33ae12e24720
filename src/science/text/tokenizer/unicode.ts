/** Classes of characters as Python's tokenizers have them. */
import {
  KEPT_NFC,
  KEPT_NFKC,
  MARKS,
  MARKS_NONSPACING,
  PUNCTUATION,
  REMOVED,
} from './unicode-tables.generated.ts';

/**
 * Returns a table of unicode-tables.generated.ts as a regular expression, with the flag g, for one
 * of its characters.
 */
function characterClass(table: string): RegExp {
  let last = 0,
    out = '';
  const escaped = (point: number): string => `\\u{${point.toString(16)}}`;
  for (const word of table.split(' ')) {
    const [gap = '', length = '0'] = word.split('-');
    const start = last + parseInt(gap, 36);
    last = start + parseInt(length, 36);
    out += start === last ? escaped(start) : `${escaped(start)}-${escaped(last)}`;
  }
  return new RegExp(`[${out}]`, 'gu');
}

export const removed = characterClass(REMOVED),
  nonspacingMark = characterClass(MARKS_NONSPACING),
  mark = characterClass(MARKS),
  punctuation = characterClass(PUNCTUATION);

/** Unicode's White_Space. JavaScript's `\s` has U+FEFF besides, and lacks U+0085. */
export const whiteSpace = /\p{White_Space}/gu;

export const isSpace = (character: string): boolean => /^\p{White_Space}$/u.test(character);

/** `\w` of Rust's regular expressions. */
export const WORD = '[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]';

const KEPT = characterClass(KEPT_NFC),
  KEPT_COMPATIBLE = characterClass(KEPT_NFKC);

/**
 * Returns a normalisation that does not change characters newer than the Unicode of Python's
 * tokenizers.
 */
export function normalForm(form: 'NFC' | 'NFD' | 'NFKC' | 'NFKD'): (text: string) => string {
  const unknown = form.includes('K') ? KEPT_COMPATIBLE : KEPT;
  return (text) => {
    if (text.search(unknown) < 0) return text.normalize(form);
    let out = '',
      from = 0;
    for (const { 0: character, index } of text.matchAll(unknown)) {
      out += text.slice(from, index).normalize(form) + character;
      from = index + character.length;
    }
    return out + text.slice(from).normalize(form);
  };
}
