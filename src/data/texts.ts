import type { Row } from '../api.ts';
import { firstNames } from './names.ts';

/** Returns a label as it looks: in NFC, with single spaces and without invisible characters. */
const asSeen = (label: string): string =>
  label
    .normalize('NFC')
    .replace(/[\p{Default_Ignorable_Code_Point}\p{Cc}]/gu, (char) => (/\s/.test(char) ? ' ' : ''))
    .replace(/\s+/g, ' ')
    .trim();

/** Returns the groups of labels that look the same. */
export const sameToTheEye = (labels: readonly string[]): string[][] => groupsAlike(labels, asSeen);

/** Returns the groups of labels that differ at most in case, width or style of characters. */
export const sameButForCase = (labels: readonly string[]): string[][] =>
  groupsAlike(labels, (label) => asSeen(label).normalize('NFKC').toLowerCase());

/** Matches a number in decimals, such as `-1`, `.5` and `2.0e-3`. */
export const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

/** Returns the groups of labels that write the same number, such as `1` and `1.0`. */
export const sameNumber = (labels: readonly string[]): string[][] =>
  groupsAlike(labels, (label) =>
    DECIMAL.test(label.trim()) ? String(Number(label)) : JSON.stringify(label),
  );

/** Returns the groups of two or more labels that have the same key. */
function groupsAlike(labels: readonly string[], key: (label: string) => string): string[][] {
  const groups = new Map<string, string[]>();
  for (const label of labels) {
    const name = key(label),
      group = groups.get(name);
    if (group === undefined) groups.set(name, [label]);
    else group.push(label);
  }
  return [...groups.values()].filter(({ length }) => length > 1);
}

/**
 * Returns in words how the other labels of each group differ from its first:
 * `"ham " has U+0020 where "ham" has nothing`.
 */
export const differences = (groups: readonly (readonly string[])[]): string =>
  firstNames(
    groups.flatMap(([first = '', ...others]) => others.map((other) => difference(first, other))),
    4,
  );

function difference(one: string, other: string): string {
  const [a, b] = [Array.from(one), Array.from(other)];
  const least = Math.min(a.length, b.length);
  let start = 0,
    tail = 0;
  while (start < least && a[start] === b[start]) start++;
  while (tail < least - start && a.at(-1 - tail) === b.at(-1 - tail)) tail++;
  const between = (chars: readonly string[]): string =>
    codePoints(chars.slice(start, chars.length - tail));
  return `${JSON.stringify(other)} has ${between(b)} where ${JSON.stringify(one)} has ${between(a)}`;
}

/** Writes at most eight characters as `U+0020 U+00A0`; none as `nothing`. */
const codePoints = (chars: readonly string[]): string =>
  chars.length === 0
    ? 'nothing'
    : chars
        .slice(0, 8)
        .map((c) => `U+${(c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`)
        .join(' ') + (chars.length > 8 ? ' …' : '');

/**
 * Returns a key that two rows share if their texts (with the pair and the messages before) are the
 * same but for Unicode form, case and white space.
 */
export const textKey = ({ text, text_pair: pair = '', context = [] }: Omit<Row, 'id' | 'label'>) =>
  [...context.map(({ content }) => content), text, pair].map(comparisonForm).join('\n');

/** Matches white space that is not a single space. Most texts have none, and replacing is slow. */
const UNEVEN = /\s{2}|[^\S ]/;

/** Returns the text of a row or, of a pair, both texts. */
export const rowTexts = ({
  text,
  text_pair: pair,
}: Pick<Row, 'text' | 'text_pair'>): readonly string[] =>
  pair === undefined ? [text] : [text, pair];

/** Returns the text in NFC and lower case, with single spaces and none at its ends. */
export function comparisonForm(text: string): string {
  const lower = text.normalize('NFC').toLowerCase();
  return (UNEVEN.test(lower) ? lower.replace(/\s+/g, ' ') : lower).trim();
}

/** Returns the text up to the end of its n-th word; all of it if n is undefined or too large. */
export function firstWords(text: string, n: number | undefined): string {
  if (n === undefined) return text;
  let count = 0;
  for (const word of text.matchAll(/\S+/gu))
    if (++count === n) return text.slice(0, word.index + word[0].length);
  return text;
}
