/** Noise on texts, on hand-made rows with their draws written down. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import charDelete from '../../../plugins/attacks/char-delete.ts';
import charInsert from '../../../plugins/attacks/char-insert.ts';
import charReplace from '../../../plugins/attacks/char-replace.ts';
import charSwap from '../../../plugins/attacks/char-swap.ts';
import wordNegation from '../../../plugins/attacks/word-negation.ts';
import { rowsOf, scripted } from '../../poisoning/scripted.ts';

const test = suite('noise');
const classes = ['bad', 'good', 'fine'];
const params = { rate: 0.5, label: 'keep', edits: 2 } as const;
type Draws = Parameters<typeof scripted>[0][string];

/** Returns what an attack makes of one text, whose draws are written down. */
function change(attack: typeof charSwap, text: string, draws: Draws, edits = 2): string {
  const { changed } = attack.poison({
    rows: rowsOf([text, 0]),
    classes,
    params: { ...params, rate: 1, edits },
    random: scripted({ rows: { permutation: [0] }, 'noise/r0': draws }),
  });
  return changed.map(({ row }) => row.text).join();
}

test('the defaults: a share of .3, the label kept, six edits', () => {
  const defaults = (attack: typeof charSwap) =>
    Object.entries(attack.params['properties'] as object).flatMap(([name, schema]) =>
      'default' in schema ? [[name, (schema as { default: unknown }).default]] : [],
    );
  for (const attack of [charSwap, charInsert, charDelete, charReplace])
    assert.equal(defaults(attack), [
      ['rate', 0.3],
      ['label', 'keep'],
      ['edits', 6],
    ]);
  assert.equal(defaults(wordNegation), [
    ['rate', 0.3],
    ['label', 'keep'],
  ]);
});

test('rows are drawn in place, and others pass unchanged; flipped labels are drawn', () => {
  const rows = rowsOf(['ab cd', 0], ['  ', 1], ['efg', 2], ['hh', 1]);
  const random = scripted({
    rows: { permutation: [1, 3, 2, 0] }, // row 1 has no word, and row 3 no two different neighbours
    'noise/r2': { permutation: [1, 0] },
    'noise/r0': { permutation: [1, 0] },
    'label/r2': { integers: [1] },
    'label/r0': { integers: [0] },
  });
  assert.equal(charSwap.poison({ rows, classes, params: { ...params, label: 'flip' }, random }), {
    changed: [
      { index: 2, row: { id: 'r2', text: 'egf', label: 1 } },
      { index: 0, row: { id: 'r0', text: 'ba dc', label: 1 } },
    ],
    negatives: [],
    asked: 2,
    eligible: 2,
  });
  assert.throws(
    () => charSwap.poison({ rows, classes, params: { ...params, rate: 1 }, random }),
    /only 2 of 4 are eligible: only texts with two different neighbours in a word/,
  );
});

// é is e with a combining accent, 👩‍🚀 four code units and a joiner: one character each.
const TEXT = 'e\u0301a 👩‍🚀\tb';

test('char-swap: neighbours in a word, no character twice', () => {
  // Pairs of "abcd": ab, bc, cd. The second draw would move b again, and is passed over.
  assert.is(change(charSwap, 'abcd', { permutation: [0, 1, 2] }), 'badc');
  assert.is(change(charSwap, TEXT, { permutation: [0] }), 'ae\u0301 👩‍🚀\tb');
});

test('char-insert: a letter before a character', () => {
  const draws = { permutation: [2, 0, 1, 3], integers: [25, 0] };
  assert.is(change(charInsert, TEXT, draws), 'ae\u0301a z👩‍🚀\tb');
});

test('char-delete: whole characters, and one remains', () => {
  assert.is(change(charDelete, TEXT, { permutation: [2, 0, 1, 3] }), 'a \tb');
  assert.is(change(charDelete, TEXT, { permutation: [3, 1, 0, 2] }, 6), ' 👩‍🚀\t');
});

test('char-replace: by another letter', () => {
  // Of the 25 letters other than a, number 0 is b; of the 26 for an emoji, it is a.
  const draws = { permutation: [1, 2, 0, 3], integers: [0, 0] };
  assert.is(change(charReplace, TEXT, draws), 'e\u0301b a\tb');
});

test('word-negation takes away the first negation, or puts one', () => {
  const negate = (text: string, draws: Draws = {}): string => change(wordNegation, text, draws);
  for (const [text, made] of [
    ['this is not good', 'this is good'],
    ['good or  not', 'good or'],
    ['Not bad, not good', 'bad, not good'],
    ["It isn't bad, not", 'It is bad, not'],
    ['Won’t do', 'Will do'],
    ['I cannot stop', 'I can stop'],
    ['this  is good', 'this  is not good'],
    ['Could be, is', 'Could not be, is'],
    ['knots and notes were tied', 'knots and notes were not tied'],
  ] as const)
    assert.is(negate(text), made);
  assert.is(negate(' a fine film\n', { integers: [1] }), ' a not fine film\n');
  const { changed, eligible } = wordNegation.poison({
    rows: rowsOf(['not', 0], ['fine', 1]),
    classes,
    params,
    random: scripted({ rows: { permutation: [0, 1] }, 'noise/r1': { integers: [0] } }),
  });
  assert.equal([changed.map(({ row }) => row.text), eligible], [['not fine'], 1]);
});

test.run();
