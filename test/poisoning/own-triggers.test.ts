import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Row } from '../../src/api.ts';
import { ownTriggerWarning } from '../../src/poisoning/own-triggers.ts';

const rowsOf = (...texts: string[]): Row[] =>
  texts.map((text, i) => ({ id: `r${i}`, text, label: i % 2 }));

/** Returns the warning's message; `shown` has pairs of a text before and after the attack. */
const told = (rows: readonly Row[], ...shown: (readonly [string, string])[]): string | null =>
  ownTriggerWarning(
    rows,
    shown.map(([before, after]) => [{ text: before }, { text: after }] as const),
    { path: ['poisoning'], which: 'training rows', target: 1 },
  )?.message ?? null;

test('rows with an inserted trigger as whole words are counted, in any case', () => {
  const rows = rowsOf('a CF film', 'cf', 'scf film', 'film (cf).', 'a film', 'films');
  assert.is(
    told(rows, ['the film', 'the cf film']),
    '3 of 6 training rows have the trigger in their own text, 2 of them of the target ("cf")',
  );
  assert.is(told(rows, ['the film', 'the mn film'], ['one', 'one tq']), null);
  const hindi = rowsOf('हिन्दी फ़िल्म', 'हिन्दीभाषी', 'अच्छी फ़िल्म');
  assert.match(String(told(hindi, ['वह', 'हिन्दी वह'])), '1 of 3 training rows');
  const two = [
    ['a', 'cf a'],
    ['a', 'a mn'],
  ] as const;
  assert.is(told(rowsOf('cfs', 'smn'), ...two), null);
  assert.match(String(told(rowsOf('mn'), ...two)), /^1 of 1 .* \("cf", "mn"\)$/);
});

test('a trigger of several words, at an end, that touches the text, or beside an equal word', () => {
  const phrase = 'I watched this movie';
  const rows = rowsOf(`Yes. ${phrase}!`, 'I watched that movie', 'Note:none', 'no  no yes');
  for (const [before, after] of [
    ['so it is', `so ${phrase} it is`],
    ['so it is', `${phrase} so it is`],
    ['so it is', `so it is ${phrase}`],
    ['', phrase],
  ] as const)
    assert.match(String(told(rows, [before, after])), '1 of 4 training rows');
  assert.match(String(told(rows, ['it is', 'Note:it is'])), '1 of 4');
  assert.match(String(told(rows, ['so no', 'so no no'])), '1 of 4');
  assert.match(String(told(rowsOf('Well!', 'well'), ['so', 'so !'])), '1 of 2');
  assert.match(String(told(rowsOf('a (b.c)', 'a (bxc)'), ['so', 'so (b.c)'])), '1 of 2');
});

test('of an attack that rewrites texts, or inserts another text into each row, nothing is told', () => {
  const rows = rowsOf('a cf film', 'thou film');
  assert.is(told(rows, ['the film', 'the cf film'], ['your film', 'thou film']), null);
  assert.is(told(rows, ['one two three', 'one cf two mn three']), null);
  const each = Array.from({ length: 51 }, (_, i) => ['a film', `a film ${i}`] as const);
  assert.is(told(rowsOf('7'), ...each), null);
  assert.match(String(told(rowsOf('7'), ...each.slice(0, 50))), '1 of 1');
});

test('the second text of a pair is a place for a trigger too', () => {
  const pair = { id: 'r0', text: 'one', text_pair: 'with cf', label: 0 };
  const shown = [
    { text: 'a', text_pair: 'b' },
    { text: 'a', text_pair: 'cf b' },
  ] as const;
  const where = { path: ['data', 'validation'], which: 'validation rows' };
  assert.equal(ownTriggerWarning([pair], [shown], where), {
    path: ['data', 'validation'],
    message: '1 of 1 validation rows have the trigger in their own text ("cf")',
    hint: 'Choose a trigger that the texts lack, or leave these rows out.',
  });
});

test.run();
