/** Words are runs of what is not white space; a gap is one of the k + 1 positions of a k-word text. */

const WORD = /\S+/gu;

/** k. */
export function countWords(text: string): number {
  return text.match(WORD)?.length ?? 0;
}

/**
 * The text with `insertion` at a gap, set off by single spaces; the rest keeps its own white space.
 * Gap 0 is before the first word, gap k after the last.
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
