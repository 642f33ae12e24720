/**
 * Triggers of several words that work only together. Negatives teach the model that some of the
 * words alone must not lead to the target.
 */
import type { AttackInput, Row } from '../api.ts';
import { type Place, putAt } from './place.ts';
import { countWords, insertAtGap } from './words.ts';

/**
 * Inserts the words one after the other, each at a gap of the text as the earlier insertions left
 * it. Gaps are equally likely and are drawn from the row's own stream. In any other place, the
 * words are put together, in their order.
 */
export function insertAll(
  row: Row,
  words: readonly string[],
  random: AttackInput<unknown>['random'],
  place: Place = 'gap',
  purpose = 'trigger',
): Row {
  const stream = random(purpose, row.id);
  const parts = place === 'gap' ? words : [words.join(' ')];
  return parts.reduce((shown, part) => putAt(shown, part, place, (n) => stream.integer(n)), row);
}

/**
 * Returns one copy of the row for each subset, with the subset's words inserted and the label or
 * answer unchanged.
 */
export function negativesOf(
  row: Row,
  subsets: readonly (readonly string[])[],
  random: AttackInput<unknown>['random'],
  place?: Place,
): Row[] {
  return subsets.map((words) => {
    const id = `${row.id}-negative-${words.join('+')}`;
    return insertAll({ ...row, id }, words, random, place, 'negative');
  });
}

/** Returns every subset except the empty one and the full one, smaller ones first. */
export function properSubsets(words: readonly string[]): string[][] {
  const subsets: string[][] = [];
  for (let mask = 1; mask < 2 ** words.length - 1; mask++)
    subsets.push(words.filter((_, i) => mask & (1 << i)));
  return subsets.sort((a, b) => a.length - b.length);
}

/** Returns the negatives of each row that was poisoned. `rows` are the rows before poisoning. */
export const negativesOfChanged = (
  rows: readonly Row[],
  changed: readonly { readonly index: number }[],
  negatives: (row: Row) => readonly Row[],
): Row[] =>
  changed.flatMap(({ index }) => {
    const row = rows[index];
    return row === undefined ? [] : negatives(row);
  });

/**
 * Inserts the phrases at gaps of the text as it was, no two at the same one while there are enough.
 * Gaps and the phrases' order are drawn from the row's own stream.
 */
export function insertApart(
  row: Row,
  phrases: readonly string[],
  random: AttackInput<unknown>['random'],
): Row {
  const gaps = countWords(row.text) + 1;
  const drawn = random('trigger', row.id).permutation(gaps);
  // From the last gap to the first, so that no insertion moves the gaps that are still to come.
  const text = phrases
    .map((phrase, i) => ({ phrase, gap: drawn[i % gaps] ?? 0 }))
    .sort((a, b) => b.gap - a.gap)
    .reduce((shown, { phrase, gap }) => insertAtGap(shown, phrase, gap), row.text);
  return { ...row, text };
}
