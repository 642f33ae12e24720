/**
 * Shows a few poisoned rows. Their text comes from strangers, so it is shown as plain text,
 * whatever markup it contains.
 */
import type { JSX } from 'preact';
import type { Condition } from '../conditions.ts';
import { codePoints, cut, plural } from '../format.ts';
import type { ReceiptFacts, TextChange } from '../types.ts';
import { type Chapter, type OfConditions } from './parts.tsx';

const MOST_ATTACKS = 6;

interface Shown {
  readonly label: string;
  readonly seed: number;
  readonly receipt: ReceiptFacts;
}

function receiptsOf(conditions: readonly Condition[]): readonly Shown[] {
  const byAttack = new Map<string, Shown>();
  for (const { attackLabel, cells } of conditions)
    for (const { seed, receipt } of cells) {
      if (receipt && receipt.made + receipt.negatives > 0 && !byAttack.has(attackLabel))
        byAttack.set(attackLabel, { label: attackLabel, seed, receipt });
    }
  return [...byAttack.values()];
}

/**
 * Characters that are invisible, or that look like Latin letters or like a space. Beside Latin text
 * nobody sees that they are there.
 */
const UNSEEN =
  /(?![ \n\r\t])[\p{Cf}\p{Cc}\p{Mn}\p{Zs}]|[\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}\p{Script=Cherokee}\u{FF01}-\u{FF5E}\u{1D400}-\u{1D7FF}]/gu;
const MOST_POINTS = 6;

/** Names the code points of a changed text that a reader can't tell: `U+0435 U+200B`. */
function pointsOf(text: string): string {
  const found = (text.match(UNSEEN) ?? []).map(
    (character) =>
      `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`,
  );
  return [...found.slice(0, MOST_POINTS), ...(found.length > MOST_POINTS ? ['…'] : [])].join(' ');
}

function Marked({ parts }: { readonly parts: readonly Segment[] }): JSX.Element {
  const isLatin = parts.some(({ text }) => /[A-Za-z]/.test(text));
  return (
    <>
      {parts.map(({ text, changed }) => {
        if (!changed) return text;
        const points = isLatin ? pointsOf(text) : '';
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

const Example = ({
  example: { id, before, after, labelBefore, labelAfter, isAnswer },
}: {
  readonly example: TextChange;
}): JSX.Element => {
  const parts = changedParts(before, after);
  return (
    <div class="example">
      <p class="small muted">
        Row <code>{cut(id, 80)}</code>: {isAnswer ? 'answer' : 'label'}{' '}
        <strong>{labelBefore}</strong>
        {labelBefore === labelAfter ? (
          ' (kept)'
        ) : (
          <>
            {' '}
            → <mark>{labelAfter}</mark>
          </>
        )}
      </p>
      {before === after ? (
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
          </p>
        </>
      )}
    </div>
  );
};

const Receipt = ({ shown: { label, seed, receipt } }: { readonly shown: Shown }): JSX.Element => (
  <>
    <h3>
      {label}, seed {seed}
    </h3>
    <p>
      {receipt.made.toLocaleString('en')} of {plural(receipt.total, 'row')} poisoned (
      {receipt.asked.toLocaleString('en')} asked)
      {receipt.negatives > 0 ? `, ${plural(receipt.negatives, 'negative')} added` : ''}
      {receipt.target === undefined
        ? ''
        : `; target: ${cut(receipt.target.class, 80)} (label ${receipt.target.label})`}
      .
    </p>
    {receipt.examples.map((example) => (
      <Example example={example} />
    ))}
  </>
);

function Examples({ conditions }: OfConditions): JSX.Element {
  const receipts = receiptsOf(conditions);
  const shown = receipts.slice(0, MOST_ATTACKS);
  const left = receipts.length - shown.length;
  return (
    <>
      {shown.length === 0 ? (
        <p>No training row of this grid was changed, or no receipt could be read.</p>
      ) : (
        <p>
          The first rows of each attack’s receipt, cut to what is around the change. The trainer
          refuses a set that does not match its receipt.
        </p>
      )}
      {shown.map((one) => (
        <Receipt shown={one} />
      ))}
      {left > 0 ? (
        <p class="muted small">
          {plural(left, 'more attack setting')} left out; each poison stage’s receipt.json lists
          every row.
        </p>
      ) : null}
    </>
  );
}

export const examples: Chapter = {
  id: 'rows',
  nav: 'Poisoned rows',
  title: 'Poisoned rows',
  parts: [Examples],
};

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
