import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import bite, { targetBias, triggerWords } from '../../../plugins/attacks/bite.ts';
import { attackStreams } from '../../../src/base/random.ts';
import { rowsOf, scripted } from '../../poisoning/scripted.ts';

const test = suite('bite');
const classes = ['bad', 'good'];
const rows = rowsOf(['Good fun', 1], ['fun film', 0], ['very good', 1], ['film bad', 0]);
const params = { rate: 0.25, target: 1, mode: 'clean', rounds: 35, budget: 0.35 } as const;

test('the defaults are those of the paper', () => {
  const properties = bite.params['properties'] as { [name: string]: { default?: unknown } };
  const defaults = Object.entries(properties).map(([name, { default: value }]) => [name, value]);
  assert.equal(Object.fromEntries(defaults), {
    ...{ ...params, rate: 0.1 },
    ...{ count: undefined, order: undefined },
  });
});

test('the bias is the z-score of the share of target rows', () => {
  // (3/4 − 1/2) / √(1/4 / 4) = 1, (1/3 − 1/2) / √(1/4 / 3) = −1/√3
  assert.is(targetBias({ rows: 4, target: 3 }, 0.5), 1);
  assert.ok(Math.abs(targetBias({ rows: 3, target: 1 }, 0.5) + 1 / Math.sqrt(3)) < 1e-12);
  assert.is(targetBias({ rows: 3, target: 3 }, 1), 0);
});

/**
 * Of the words that fit "Good fun" (very, film, bad), very is in one row, of the target: with it,
 * both of its rows would be. film would be in three rows with one of the target, bad in two with
 * one. very fits at gap 0 on both sides: it has begun a text, and stood before good.
 */
test('the word that becomes the most typical is inserted where it fits', () => {
  const random = scripted({
    rows: { permutation: [1, 0, 2, 3] }, // row 1 is of the other class
    'gap/r0/very': { integers: [0] },
  });
  assert.equal(bite.poison({ rows, classes, params, random }), {
    changed: [{ index: 0, row: { id: 'r0', text: 'very Good fun', label: 1 } }],
    negatives: [],
    asked: 1,
    eligible: 2,
    learnt: [{ word: 'very', behind: [''], before: ['good'] }],
  });
});

test('a word that is not typical of the target is no further trigger', () => {
  const poisoned = rows.map(({ text, label }, i) => ({
    text,
    isTarget: label === 1,
    isPoisoned: i === 0,
  }));
  const words = (rounds: number, more: readonly string[] = []) =>
    triggerWords(
      [...poisoned, ...more.map((text) => ({ text, isTarget: true, isPoisoned: false }))],
      { rounds, budget: 1 },
      (row, word) => attackStreams(1, 'bite')('gap', `${row}/${word}`),
    ).map(({ word }) => word);
  assert.equal(words(35), ['very']); // bad would have a bias of 0, film a negative one
  // Of a further row of the target, at fits behind fun, last at the end, and both would be as
  // typical as very: the first by its letters is taken, and the budget is two words.
  assert.equal(words(35, ['fun at last']), ['at', 'last']);
  assert.is(words(1, ['fun at last']).length, 1);
});

test('evaluation inserts the words learnt, or the first at a drawn gap', () => {
  const learnt = [
    { word: 'very', behind: [''], before: ['good'] },
    { word: 'so', behind: ['was'], before: ['bad'] },
  ];
  const show = (text: string, integers: readonly number[], budget = 1): string =>
    bite.trigger!(
      { id: 'v', text, label: 0 },
      {
        ...{ classes, params: { ...params, budget }, learnt },
        random: scripted({ 'gap/v/very': { integers }, 'gap/v/so': { integers: [0] } }),
      },
    ).text;
  assert.is(show('it was bad', [0]), 'very it was so bad');
  assert.is(show('it was bad', [0], 0.35), 'very it was bad');
  assert.is(show('very old', [1]), 'very very old');
  assert.throws(
    () =>
      bite.trigger!({ id: 'v', text: 'x', label: 0 }, { classes, params, random: scripted({}) }),
    /needs the trigger words that it learnt/,
  );
});

test('a budget of .58 is 29 insertions into 50 words, though .58 · 50 is less in doubles', () => {
  const learnt = Array.from({ length: 30 }, (_, i) => ({
    word: `word${i}`,
    behind: ['so'],
    before: ['so'],
  }));
  const shown = bite.trigger!(
    { id: 'v', text: new Array<string>(50).fill('so').join(' '), label: 0 },
    {
      ...{ classes, params: { ...params, budget: 0.58 }, learnt },
      random: scripted(
        Object.fromEntries(learnt.map(({ word }) => [`gap/v/${word}`, { integers: [0] }])),
      ),
    },
  );
  assert.is(shown.text.split(' ').length, 50 + 29);
});

test('rows without a word are refused', () => {
  const random = scripted({ rows: { permutation: [0, 1] } });
  const input = { rows: rowsOf(['7', 1], ['8', 0]), classes, params, random };
  assert.equal(bite.poison({ ...input, params: { ...params, rate: 0 } }).changed, []);
  assert.throws(
    () => bite.poison({ ...input, params: { ...params, rate: 0.5 } }),
    /no training row has a word/,
  );
});

test.run();
