/** Shows a text before and after a change, with the change marked. Markup in it is not rendered. */
import type { JSX } from 'preact';
import { codePoints, cut } from '../format.ts';
import type { TextChange } from '../types.ts';

/**
 * Characters that nobody sees in Latin text: invisible ones, and those that look like Latin letters
 * or like a space.
 */
const UNSEEN =
  /(?![ \n\r\t])[\p{Cf}\p{Cc}\p{Mn}\p{Zs}]|[\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}\p{Script=Cherokee}\u{FF01}-\u{FF5E}\u{1D400}-\u{1D7FF}]/gu;
const MOST_POINTS = 6;

/** Returns the code points of the characters that `UNSEEN` matches: `U+0435 U+200B`. */
function unseenPoints(text: string): string {
  const found = (text.match(UNSEEN) ?? []).map(
    (character) =>
      `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`,
  );
  return [...found.slice(0, MOST_POINTS), ...(found.length > MOST_POINTS ? ['…'] : [])].join(' ');
}

/**
 * Marks the changed parts of a text. If the text has Latin letters, the code points of
 * `unseenPoints` stand after each changed part.
 */
export function Marked({ parts }: { readonly parts: readonly Segment[] }): JSX.Element {
  const isLatin = parts.some(({ text }) => /[A-Za-z]/.test(text));
  return (
    <>
      {parts.map(({ text, changed }) => {
        if (!changed) return text;
        const points = isLatin ? unseenPoints(text) : '';
        return (
          <>
            <mark>{text}</mark>
            {points === '' ? null : <code class="small"> {points} </code>}
          </>
        );
      })}
    </>
  );
}

/**
 * Shows a row before and after an attack. What the attack adds to a document stands at the end of
 * the document, where a model reads it.
 * @param whole whether long texts are shown in full
 */
export const ChangedRow = ({
  row: { id, before, after, labelBefore, labelAfter, isAnswer, isDocument },
  whole = false,
}: {
  readonly row: TextChange;
  readonly whole?: boolean;
}): JSX.Element => {
  const parts = changedParts(before, after, whole);
  const added = isDocument ? labelAfter.trim() : '';
  return (
    <div class="example">
      <p class="small muted">
        Row <code>{cut(id, 80)}</code>
        {isDocument ? (
          ': document'
        ) : (
          <>
            : {isAnswer ? 'answer' : 'label'} <strong>{labelBefore || 'none'}</strong>
            {labelBefore === labelAfter ? (
              ' (kept)'
            ) : (
              <>
                {' '}
                → <mark>{labelAfter}</mark>
              </>
            )}
          </>
        )}
      </p>
      {before === after && !added ? (
        <p>
          <span class="which">Text, unchanged</span>
          <Marked parts={parts.after} />
        </p>
      ) : (
        <>
          <p>
            <span class="which">Original</span>
            <Marked parts={parts.before} />
          </p>
          <p>
            <span class="which">Poisoned</span>
            <Marked parts={parts.after} />
            {added && (
              <>
                {' '}
                <mark>{added}</mark>
              </>
            )}
          </p>
        </>
      )}
    </div>
  );
};

export interface Segment {
  readonly text: string;
  readonly changed: boolean;
}

/** How many code points of a long text are shown on each side of the change. */
const CONTEXT = 150;
/** The most code points of the change itself that are shown. */
const MOST_CHANGED = 240;

const splitWords = (text: string): string[] => text.split(/(\s+)/).filter((part) => part !== '');

/**
 * Splits two texts into the words of their longest common start and end, and what changed between
 * them.
 * @param whole whether to return all of both texts, not only what is around the change
 */
export function changedParts(
  before: string,
  after: string,
  whole = false,
): { readonly before: readonly Segment[]; readonly after: readonly Segment[] } {
  const a = splitWords(before),
    b = splitWords(after);
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
    // Only these four kinds of white space are trimmed: any other kind may be the change itself.
    const changed = middle.replace(/^[ \n\r\t]+|[ \n\r\t]+$/g, '');
    const at = changed === '' ? middle.length : middle.indexOf(changed);
    const head = of.slice(0, start).join('') + middle.slice(0, at),
      tail = middle.slice(at + changed.length) + of.slice(of.length - end).join('');
    return whole ? toSegments(head, changed, tail) : windowAroundChange(head, changed, tail);
  };
  return { before: parts(a), after: parts(b) };
}

/** Returns a window of whole code points around the change. */
function windowAroundChange(head: string, changed: string, tail: string): Segment[] {
  // If only the label was flipped, the text is shown from its beginning.
  if (changed === '' && tail === '') [head, tail] = ['', head];
  const h = codePoints(head),
    c = codePoints(changed),
    t = codePoints(tail);
  // If the text before the change is short, the text after it gets the room.
  const room = Math.max(0, 2 * CONTEXT - Math.min(CONTEXT, h.length));
  const before = h.length > CONTEXT ? `… ${h.slice(-CONTEXT).join('')}` : head;
  const after = t.length > room ? `${t.slice(0, room).join('')} …` : tail;
  const middle = c.length > MOST_CHANGED ? `${c.slice(0, MOST_CHANGED).join('')} …` : changed;
  return toSegments(before, middle, after);
}

const toSegments = (head: string, changed: string, tail: string): Segment[] =>
  [
    { text: head, changed: false },
    { text: changed, changed: true },
    { text: tail, changed: false },
  ].filter(({ text }) => text !== '');
