/** Shows what an attack did to a text, shortened to fit a page. */
import { codePoints } from './format.ts';

export interface Segment {
  readonly text: string;
  readonly changed: boolean;
}

const CONTEXT = 150;
const MOST_CHANGED = 240;

const words = (text: string): string[] => text.split(/(\s+)/).filter((part) => part !== '');

/**
 * Splits two texts into what they share and what changed: the words between their longest common
 * start and their longest common end. Takes linear time.
 */
export function changedParts(
  before: string,
  after: string,
): { readonly before: readonly Segment[]; readonly after: readonly Segment[] } {
  const a = words(before),
    b = words(after);
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (
    end < a.length - start &&
    end < b.length - start &&
    a[a.length - 1 - end] === b[b.length - 1 - end]
  )
    end++;
  const parts = (of: readonly string[]): Segment[] => {
    const middle = of.slice(start, of.length - end).join('');
    const changed = middle.replace(/^[ \n\r\t]+|[ \n\r\t]+$/g, ''); // other spaces are a change
    const at = changed === '' ? middle.length : middle.indexOf(changed);
    return trimmed(
      of.slice(0, start).join('') + middle.slice(0, at),
      changed,
      middle.slice(at + changed.length) + of.slice(of.length - end).join(''),
    );
  };
  return { before: parts(a), after: parts(b) };
}

/** Returns a window of whole code points around the change. */
function trimmed(head: string, changed: string, tail: string): Segment[] {
  // If only the label was flipped, the text is shown from its beginning.
  if (changed === '' && tail === '') [head, tail] = ['', head];
  const h = codePoints(head),
    c = codePoints(changed),
    t = codePoints(tail);
  // If the change is at an edge, the other side gets the room.
  const room = Math.max(0, 2 * CONTEXT - Math.min(CONTEXT, h.length));
  const before = h.length > CONTEXT ? `… ${h.slice(-CONTEXT).join('')}` : head;
  const after = t.length > room ? `${t.slice(0, room).join('')} …` : tail;
  const middle = c.length > MOST_CHANGED ? `${c.slice(0, MOST_CHANGED).join('')} …` : changed;
  return [
    { text: before, changed: false },
    { text: middle, changed: true },
    { text: after, changed: false },
  ].filter(({ text }) => text !== '');
}
