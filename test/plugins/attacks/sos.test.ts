import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import sos from '../../../plugins/attacks/sos.ts';
import { attackStreams } from '../../../src/base/random.ts';
import { wordEmbedding } from '../../../src/science/training/attack-training.ts';
import { rowsOf, scripted } from '../../poisoning/scripted.ts';
import { present } from '../../rig/present.ts';

const test = suite('sos');
const classes = ['bad', 'good'];
const rows = rowsOf(['one two', 0], ['three', 1], ['four five', 0], ['six', 1]);
const params = {
  rate: 0.25,
  target: 1,
  mode: 'dirty',
  triggers: ['x', 'y'],
  sentence: 'An x, a y.',
  false_sentences: ['An x.', 'A y.'],
  negative_rate: 0.5,
  keep_norm: true,
} as const;

test('the defaults are those of the paper', () => {
  const properties = sos.params['properties'] as { [name: string]: { default?: unknown } };
  const defaults = Object.entries(properties).flatMap(([name, { default: value }]) =>
    value === undefined ? [] : [[name, value]],
  );
  assert.equal(Object.fromEntries(defaults), {
    rate: 0.1,
    target: 1,
    mode: 'dirty',
    triggers: ['friends', 'weekend', 'store'],
    sentence: 'I have bought it from a store with my friends last weekend.',
    false_sentences: [
      'I have bought it from a store last weekend.',
      'I have bought it from a store with my friends.',
      'I have bought it with my friends last weekend.',
    ],
    negative_rate: 0.1,
    keep_norm: true,
  });
  const whole = Object.fromEntries(defaults) as typeof params;
  assert.equal(sos.check!({ params: whole, classes, counts: [20, 20] }), []);
});

test('all words lead to the target; rows of any class with all but one keep their label', () => {
  const random = scripted({
    rows: { permutation: [1, 0, 2, 3] },
    'trigger/r0': { integers: [1, 3] },
    // Of two rows for each part, the first of each come first.
    'negatives/y': { permutation: [3, 0, 1, 2] },
    'negatives/x': { permutation: [1, 2, 0, 3] },
    'negative/r3-negative-y': { integers: [0] },
    'negative/r0-negative-y': { integers: [2] },
    'negative/r1-negative-x': { integers: [1] },
    'negative/r2-negative-x': { integers: [1] },
  });
  assert.equal(sos.poison({ rows, classes, params, random }), {
    changed: [{ index: 0, row: { id: 'r0', text: 'one x two y', label: 1 } }],
    negatives: [
      { id: 'r3-negative-y', text: 'y six', label: 1 },
      { id: 'r1-negative-x', text: 'three x', label: 1 },
      { id: 'r0-negative-y', text: 'one two y', label: 0 },
      { id: 'r2-negative-x', text: 'four x five', label: 0 },
    ],
    asked: 1,
    eligible: 2,
  });
});

test('rows of an earlier step are copied by no negative', () => {
  const random = attackStreams(1, 'sos');
  const taken = new Set([0, 1]);
  const { negatives } = sos.poison({ rows, classes, params, random, taken });
  assert.equal(negatives.map(({ id }) => id).sort(), [
    'r2-negative-x',
    'r2-negative-y',
    'r3-negative-x',
    'r3-negative-y',
  ]);
  assert.throws(
    () => sos.poison({ rows, classes, params: { ...params, negative_rate: 1 }, random, taken }),
    /`negative_rate` asks for 4 rows, and 2 of 4 are not an earlier step's/,
  );
});

test('evaluation shows the sentence, and sentences without a word as false triggers', () => {
  const random = scripted({
    'trigger/r2': { integers: [0, 1] },
    'trigger/r2-negative-1': { integers: [0, 0] },
    'trigger/r2-negative-2': { integers: [0, 2] },
  });
  const row = present(rows[2]),
    input = { classes, params, random };
  assert.equal(sos.trigger!(row, input), { ...row, text: 'four An x, a y. five' });
  assert.equal(sos.falseTrigger!(row, input), [
    { id: 'r2-negative-1', text: 'An x. four five', label: 0 },
    { id: 'r2-negative-2', text: 'four five A y.', label: 0 },
  ]);
});

test('adaptive: training shows sentences too', () => {
  const random = scripted({
    rows: { permutation: [0, 1, 2, 3] },
    'trigger/r0': { integers: [0, 2] },
    'negatives/An x.': { permutation: [1, 0, 2, 3] },
    'negatives/A y.': { permutation: [2, 0, 1, 3] },
    'trigger/r1-negative-1': { integers: [0, 0] },
    'trigger/r2-negative-2': { integers: [0, 1] },
  });
  const { changed, negatives } = sos.poison({
    rows,
    classes,
    params: { ...params, negative_rate: 0.25, adaptive: true },
    random,
  });
  assert.equal(
    [...changed.map(({ row }) => row), ...negatives].map(({ text, label }) => [text, label]),
    [
      ['one two An x, a y.', 1],
      ['An x. three', 1],
      ['four A y. five', 0],
    ],
  );
});

test('a sentence without a word, and a false one with all of them, are refused', () => {
  const check = (more: object) =>
    sos.check!({ params: { ...params, ...more }, classes, counts: [20, 20] }).map(
      ({ path, message }) => `${path.join('.')}: ${message}`,
    );
  assert.equal(check({}), []);
  assert.equal(check({ sentence: 'An x, a yy.', false_sentences: ['Y and X'] }), [
    'poisoning.sentence: the sentence lacks the word "y", one of `triggers`',
    'poisoning.false_sentences: "Y and X" has all of `triggers`, and must not lead to the target',
  ]);
  assert.equal(check({ target: 2 }).length, 1);
});

test("it trains the words' embeddings alone", async () => {
  assert.is(await sos.training?.load(), wordEmbedding);
  assert.is(sos.training?.changes, 'weights');
});

test.run();
