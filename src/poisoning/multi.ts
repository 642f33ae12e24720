/**
 * Triggers of several words that work only together. Negatives teach the model that some of the
 * words alone must not lead to the target class.
 */
import type { AttackInput, Row } from '../api.ts';
import { countWords, insertAtGap } from './words.ts';

/**
 * Inserts the words one after the other, each at a gap of the text as the earlier insertions left
 * it. Gaps are equally likely and are drawn from the row's own stream.
 */
export function insertAll(
  row: Row,
  words: readonly string[],
  random: AttackInput<unknown>['random'],
  purpose = 'trigger',
  name = row.id,
): Row {
  const stream = random(purpose, name);
  return {
    ...row,
    text: words.reduce(
      (text, word) => insertAtGap(text, word, stream.integer(countWords(text) + 1)),
      row.text,
    ),
  };
}

/**
 * Returns one copy of the row for each subset, with the subset's words inserted and the label
 * unchanged.
 */
export function negativesOf(
  row: Row,
  subsets: readonly (readonly string[])[],
  random: AttackInput<unknown>['random'],
): Row[] {
  return subsets.map((words) => {
    const id = `${row.id}-negative-${words.join('+')}`;
    return { ...insertAll(row, words, random, 'negative', id), id };
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
