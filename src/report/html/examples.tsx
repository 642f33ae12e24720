/** A few poisoned rows. Their text comes from strangers, so it is shown as plain text. */
import type { JSX } from 'preact';
import type { Condition } from '../conditions.ts';
import { cut, plural } from '../format.ts';
import type { ReceiptFacts } from '../types.ts';
import { trainingPlace } from './asked.tsx';
import { ChangedRow } from './changes.tsx';
import { type Chapter, OutputsLink, type PageProps } from './parts.tsx';

const MOST_ATTACKS = 6;

interface Shown {
  readonly label: string;
  readonly seed: number;
  readonly receipt: ReceiptFacts;
}

/** Returns the first receipt with poisoned or added rows for each attack on each training. */
function firstReceipts(conditions: readonly Condition[]): readonly Shown[] {
  const byAttack = new Map<string, Shown>();
  const add = (label: string, seed: number, receipt: ReceiptFacts | null = null): void => {
    if (receipt && receipt.made + receipt.negatives > 0 && !byAttack.has(label))
      byAttack.set(label, { label, seed, receipt });
  };
  for (const { attackLabel, cells } of conditions)
    for (const { seed, receipt, bases = [] } of cells) {
      for (const base of bases) add(trainingPlace(base), seed, base.receipt);
      add(attackLabel, seed, receipt);
    }
  return [...byAttack.values()];
}

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
      <ChangedRow row={example} />
    ))}
  </>
);

function Examples({ conditions, input }: PageProps): JSX.Element {
  const receipts = firstReceipts(conditions);
  const shown = receipts.slice(0, MOST_ATTACKS);
  const left = receipts.length - shown.length;
  const bases = conditions.flatMap(({ cells }) => cells.flatMap((cell) => cell.bases ?? []));
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
      <OutputsLink input={input}>
        every poisoned row
        {bases.some(({ receipt }) => receipt !== undefined)
          ? ' of the attack whose trigger a cell’s ASR is under'
          : ''}
      </OutputsLink>
    </>
  );
}

export const examples: Chapter = {
  id: 'rows',
  nav: 'Poisoned rows',
  title: 'Poisoned rows',
  parts: [Examples],
};
