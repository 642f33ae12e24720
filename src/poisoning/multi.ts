/** Triggers of several words, of which only all together count: a part of them must not (negatives teach that). */
import type { AttackInput, Row } from '../api.ts';
import { countWords, insertAtGap } from './words.ts';

/** Each word at a uniform gap of the text as it then is, drawn from the row's own stream. */
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

/** The row with each of the subsets, and no other trigger, under its own label. */
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

/** Every subset but the empty one and the whole, small ones first. */
export function properSubsets(words: readonly string[]): string[][] {
  const subsets: string[][] = [];
  for (let mask = 1; mask < 2 ** words.length - 1; mask++)
    subsets.push(words.filter((_, i) => mask & (1 << i)));
  return subsets.sort((a, b) => a.length - b.length);
}
