import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { defineAttack } from '../../src/api.ts';
import type { AttackDescriptor, Row } from '../../src/api.ts';
import { falselyTriggeredRows, familyOf, triggeredRows } from '../../src/poisoning/evaluation.ts';
import { scripted } from './scripted.ts';

const test = suite('evaluation of attacks');
const rows: readonly Row[] = [{ id: 'a', text: 'one', label: 0 }, { id: 'b', text: 'two', label: 2 }];
const input = { classes: ['x', 'y', 'z'], params: {}, random: scripted({}) };
const attack = (more: Partial<AttackDescriptor>): AttackDescriptor => defineAttack({
  name: 'shown', summary: 'Shows rows.', family: 'backdoor', citation: '', params: {}, target: () => 1,
  poison: () => ({ changed: [], negatives: [], asked: 0, eligible: 0 }), ...more,
});

test('row by row or all at once; the label stays the true one', async () => {
  const expected = [{ id: 'a', text: 'one!', label: 0 }, { id: 'b', text: 'two!', label: 2 }];
  assert.equal(await triggeredRows(attack({ trigger: (row) => ({ ...row, text: `${row.text}!`, label: 1 }) }), rows, input), expected);
  assert.equal(await triggeredRows(attack({ triggerAll: async (all) => all.map((row) => ({ ...row, text: `${row.text}!`, label: 1 })) }), rows, input), expected);
  assert.equal(falselyTriggeredRows(attack({ falseTrigger: (row) => [{ ...row, id: `${row.id}-half`, label: 1 }] }), rows, input), [{ id: 'a-half', text: 'one', label: 0 }, { id: 'b-half', text: 'two', label: 2 }]);
  assert.equal(falselyTriggeredRows(attack({}), rows, input), []);
});

test('rows that are left out, or put in another order, are the attack\'s fault', async () => {
  const fault = async (answer: (all: readonly Row[]) => readonly Row[]): Promise<string> => {
    try { await triggeredRows(attack({ triggerAll: async (all) => answer(all) }), rows, input); } catch (error) {
      assert.is((error as Error).name, 'UserFault');
      return (error as Error).message;
    }
    throw new Error('no fault');
  };
  assert.is(await fault((all) => all.slice(1)), 'the attack "shown" was given 2 rows to show under its trigger, and returned 1');
  assert.is(await fault((all) => all.toReversed()), 'the attack "shown" returned row "b" under its trigger in the place of "a"');
});

test('the family may depend on the parameters', () => {
  const either = attack({ family: ({ target }) => (target === undefined ? 'untargeted' : 'backdoor') });
  assert.equal([familyOf(either, {}), familyOf(either, { target: 1 }), familyOf(attack({}), {})], ['untargeted', 'backdoor', 'backdoor']);
});

test.run();
