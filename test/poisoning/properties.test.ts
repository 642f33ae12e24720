/** Laws of every attack in plugins/attacks, on random rows and doses. */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AttackDescriptor, JsonObject, Row } from '../../src/api.ts';
import { attackStreams } from '../../src/base/random.ts';
import { mergeSteps, poisonRows } from '../../src/poisoning/compose.ts';
import { splitGraphemes } from '../../src/poisoning/noise.ts';
import { readOnly } from '../../src/poisoning/read-only.ts';
import { checkReceipt, makeReceipt } from '../../src/poisoning/receipt.ts';
import { present } from '../rig/present.ts';
import { times } from '../rig/times.ts';
import { asPrompts, attacks, fieldsOf, stepOf, taskFor } from './all-attacks.ts';

const test = suite('laws of attacks');

/** Texts that are one thing to a reader and several to a program, and odd white space. */
const piece = fc.oneof(
  fc.constantFrom(
    'e\u0301',
    '👩‍🚀',
    '🇩🇪🇫🇷',
    'ﷺ',
    '漢字',
    'नमस्ते',
    'ы\u0308',
    'a\u200Db',
    'is',
    "isn't",
    '.',
  ),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 5 }),
);
const space = fc.constantFrom(' ', '  ', '\n', '\r\n', '\t', '\u00A0', '\u3000');
const text = fc
  .array(fc.tuple(space, piece), { maxLength: 8 })
  // Each text has what the attacks on characters and words look for.
  .map((parts) => `ab${parts.flat().join('')}`);
const rowsOf = fc
  .array(text, { minLength: 1, maxLength: 20 })
  .map((texts) => texts.map((one, i): Row => ({ id: `r${i}`, text: one, label: i % 2 })));
/** A rate in twentieths, whose product with a number of rows is exact. */
const twentieths = fc.integer({ min: 0, max: 20 });

const named = (name: string): AttackDescriptor =>
  present(attacks.find((attack) => attack.name === name));

/** Poisons the rows among all of them, at a rate, and checks the receipt. */
async function poison(
  attack: AttackDescriptor,
  labelled: readonly Row[],
  twentieth: number,
  seed: number,
) {
  const rows = readOnly(taskFor(attack) === 'completion' ? asPrompts(labelled) : labelled);
  const classes = taskFor(attack) === 'completion' ? [] : ['bad', 'good'];
  const fields = fieldsOf(attack);
  const more: JsonObject = {
    ...('rate' in fields ? { rate: twentieth / 20 } : {}),
    ...('mode' in fields ? { mode: 'mix' } : {}),
  };
  const step = stepOf(attack, more);
  const params = 'rate' in fields ? { ...step.params, ...more } : step.params;
  const { rows: made, steps } = await poisonRows(rows, [{ ...step, params }], {
    classes,
    streams: (name) => attackStreams(seed, name),
    log: () => undefined,
  });
  const done = mergeSteps(steps);
  const receipt = makeReceipt(rows, made, done, attack.name, {}, seed, steps);
  assert.is(checkReceipt(made, receipt), null);
  return { rows, made, receipt, done };
}

/** Attacks that say a text anew, in words that they do not have from it. */
const RETOLD = ['style', 'syntax', 'harmful-tuning'];
const CHARACTERS = ['char-swap', 'char-insert', 'char-delete', 'char-replace'];

/** Whether the graphemes of one text occur in the other, in their order. */
function isWithin(text: string, other: string): boolean {
  const graphemes = splitGraphemes(text);
  let found = 0;
  for (const grapheme of splitGraphemes(other)) if (grapheme === graphemes[found]) found++;
  return found === graphemes.length;
}
/** A surrogate without its other half. */
const LONE = /\p{Surrogate}/u;
const spaces = (text: string): string => text.replaceAll(/\S+/gu, '');

/** Asserts that an attack changes no other part of a text than it says. */
function assertSpared(attack: string, before: string, after: string): void {
  if (RETOLD.includes(attack)) return;
  if (CHARACTERS.includes(attack)) assert.is(spaces(after), spaces(before));
  else if (attack === 'word-negation')
    assert.ok(isWithin(before, after) || isWithin(after, before), after);
  else if (attack === 'label-flip') assert.is(after, before);
  else assert.ok(isWithin(before, after), `${before} → ${after}`);
}

/** A program is started for each poisoning. */
const runsOf = ({ name }: AttackDescriptor): number =>
  name === 'command' ? times(2, 20) : times(12, 400);

for (const attack of attacks)
  test(`${attack.name}: as many rows as asked for, and nothing else`, async () => {
    const hasDose = 'rate' in fieldsOf(attack);
    await fc.assert(
      fc.asyncProperty(
        rowsOf,
        twentieths,
        twentieths,
        fc.nat(1000),
        async (labelled, one, other, seed) => {
          const [low, high] = [Math.min(one, other), Math.max(one, other)];
          const elsewhere = named('badnets');
          const [large, again, small] = await Promise.all([
            poison(attack, labelled, high, seed),
            poison(attack, labelled, high, seed),
            poison(attack, labelled, low, seed),
            poison(elsewhere, labelled, low, seed), // one more at the same time
          ]);
          assert.equal(again.made, large.made, 'the seed alone decides');

          const { rows, made, receipt } = large;
          const count = (twentieth: number): number =>
            hasDose ? Math.floor((twentieth * rows.length) / 20) : 0;
          assert.is(receipt.rows.length, count(high));
          const changed = new Map(receipt.rows.map((row) => [row.index, row]));
          rows.forEach((row, i) => {
            if (!changed.has(i)) assert.equal(made[i], row);
          });
          for (const { original, new: poisoned } of receipt.rows) {
            assertSpared(attack.name, original.text, poisoned.text);
            assert.ok(!LONE.test(poisoned.text), 'half a character');
          }
          assert.equal(
            made.slice(rows.length).map(({ id }) => id),
            receipt.negatives.map(({ id }) => id),
          );
          const truth = new Map(rows.map(({ id, label, answer }) => [id, [label, answer]]));
          for (const { id, label, answer } of made.slice(rows.length))
            assert.equal([label, answer], truth.get(id.replace(/-(negative|own).*/, '')));

          assert.is(small.receipt.rows.length, count(low));
          for (const row of small.receipt.rows)
            if (attack.name === 'bite')
              assert.ok(changed.has(row.index), 'its words depend on the dose');
            else assert.equal(row, changed.get(row.index), 'a larger dose has those of a smaller');
        },
      ),
      { numRuns: runsOf(attack) },
    );
  });

for (const attack of attacks.filter((one) => 'rate' in fieldsOf(one)))
  test(`${attack.name}: rate 0 is no attack, and rate 1 all rows`, async () => {
    await fc.assert(
      fc.asyncProperty(rowsOf, fc.nat(1000), async (labelled, seed) => {
        const none = await poison(attack, labelled, 0, seed);
        assert.equal(none.made, none.rows);
        assert.is(none.receipt.digests.poisoned, none.receipt.digests.clean);
        const all = await poison(attack, labelled, 20, seed);
        assert.is(all.done.changed.length, labelled.length);
      }),
      { numRuns: attack.name === 'command' ? 1 : times(4, 100) },
    );
  });

test.run();
