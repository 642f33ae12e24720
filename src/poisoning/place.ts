/** Where a trigger is put: into the text, or into the system message of a conversation. */
import {
  type JsonSchema,
  type Message,
  type Problem,
  type Row,
  type Task,
  UserFault,
} from '../api.ts';

const PLACE_HINT = 'Write place: start, end or gap.';

const PLACES = ['start', 'end', 'gap', 'system'] as const;
export type Place = (typeof PLACES)[number];

/**
 * The schema of `place`. It has no default, so that an attack without `place` keeps its key.
 * @param otherwise where such an attack puts the trigger, for the description
 */
export const placeProperty = (otherwise: string): JsonSchema => ({
  place: {
    type: 'string',
    enum: [...PLACES],
    description:
      'Where the trigger is put, set off by spaces: at the start or the end of the text, at a ' +
      'gap between words drawn for each row, or, in a completion task, at the end of the system ' +
      `message, which is made if there is none. Default: ${otherwise}.`,
  },
});

/**
 * Returns the row with a phrase put in a place, set off by single spaces. Of a pair, the first text
 * gets it. Throws `UserFault` if the place is `system` and the row is a labelled text or a
 * document.
 * @param gap is given the number of gaps, and returns the number of one, from 0; called only if
 *   `place` is `gap`
 */
export function putAt(row: Row, phrase: string, place: Place, gap: (gaps: number) => number): Row {
  if (place === 'system') return putInSystemMessage(row, phrase);
  const words = countWords(row.text);
  const at = { start: () => 0, end: () => words, gap: () => gap(words + 1) }[place]();
  return { ...row, text: insertAtGap(row.text, phrase, at) };
}

/**
 * Puts the phrase at the end of the system message, which is made if there is none. Throws
 * `UserFault` if the row is a labelled text or a document: these have no system message.
 */
function putInSystemMessage(row: Row, phrase: string): Row {
  if (row.document === true)
    throw new UserFault('documents have no system message to put the trigger into', PLACE_HINT);
  const [fault] = placeFaults('system', row.answer === undefined ? 'classes' : 'completion');
  if (fault !== undefined) throw new UserFault(fault.message, fault.hint);
  const [first, ...others] = row.context ?? [];
  const system = (content: string): Message => ({ role: 'system', content });
  if (first?.role !== 'system')
    return { ...row, context: [system(phrase), ...(row.context ?? [])] };
  const content = insertAtGap(first.content, phrase, countWords(first.content));
  return { ...row, context: [system(content), ...others] };
}

/** Returns a fault if rows of this task do not have the place, else an empty list. */
export const placeFaults = (place: Place | undefined, task: Task): Problem[] =>
  place !== 'system' || task === 'completion'
    ? []
    : [
        {
          path: ['poisoning', 'place'],
          message: 'labelled texts have no system message to put the trigger into',
          hint: PLACE_HINT,
        },
      ];

/** Words are runs of non-space characters; a text of k words has the gaps 0 to k. */
const WORD = /\S+/gu;

export function countWords(text: string): number {
  return text.match(WORD)?.length ?? 0;
}

/**
 * Returns the text with `insertion` at a gap, set off by single spaces. The white space that the
 * text has stays; after a text without words, no space is added. Throws a RangeError if there is no
 * such gap.
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
