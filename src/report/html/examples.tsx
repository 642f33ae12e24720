/**
 * Shows a few poisoned rows. Their text comes from strangers, so it is shown as plain text,
 * whatever markup it contains.
 */
import type { JSX } from 'preact';
import { changedParts, type Segment } from '../changes.ts';
import type { Condition } from '../conditions.ts';
import { cut, plural } from '../format.ts';
import type { ReceiptFacts, TextChange } from '../types.ts';
import type { Chapter } from './chapter.ts';

const MOST_ATTACKS = 6;

interface Shown {
  readonly label: string;
  readonly seed: number;
  readonly receipt: ReceiptFacts;
}

/** Returns, for each attack, the first receipt in which a row was changed. */
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
/** The most code points that are named in one place. */
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

function Examples({ conditions }: { readonly conditions: readonly Condition[] }): JSX.Element {
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
  draw: ({ analysis }) => <Examples conditions={analysis.conditions} />,
};
