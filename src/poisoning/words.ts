/** Words are runs of non-space characters; a text of k words has k + 1 gaps, numbered from 0. */

const WORD = /\S+/gu;

/** The number of words in a text. */
export function countWords(text: string): number {
  return text.match(WORD)?.length ?? 0;
}

/**
 * Returns the text with `insertion` at a gap, set off by single spaces. Other white space stays as
 * it is. Gap 0 is before the first word, and gap k after the last. Throws a RangeError if there is
 * no such gap.
 */
export function insertAtGap(text: string, insertion: string, gap: number): string {
  const words = [...text.matchAll(WORD)];
  if (!Number.isInteger(gap) || gap < 0 || gap > words.length)
    throw new RangeError(`a text of ${words.length} words has no gap ${gap}`);
  const next = words[gap];
  if (next !== undefined)
    return `${text.slice(0, next.index)}${insertion} ${text.slice(next.index)}`;
  const last = words.at(-1);
  if (last === undefined) return `${text}${insertion}`;
  const end = last.index + last[0].length;
  return `${text.slice(0, end)} ${insertion}${text.slice(end)}`;
}
