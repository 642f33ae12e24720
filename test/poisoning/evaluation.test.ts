import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type AttackDescriptor, defineAttack, type Row, type UserFault } from '../../src/api.ts';
import { falselyTriggeredRows, targetOf, triggeredRows } from '../../src/poisoning/evaluation.ts';
import { familyOf } from '../../src/poisoning/steps.ts';
import { present } from '../rig/present.ts';
import { scripted } from './scripted.ts';

const test = suite('evaluation of attacks');
const rows: readonly Row[] = [
  { id: 'a', text: 'one', label: 0 },
  { id: 'b', text: 'two', label: 2 },
];
const input = { classes: ['x', 'y', 'z'], params: {}, random: scripted({}) };
const attack = (more: Partial<AttackDescriptor>): AttackDescriptor =>
  defineAttack({
    name: 'shown',
    summary: 'Shows rows.',
    family: 'backdoor',
    citation: '',
    params: {},
    target: () => 1,
    poison: () => ({ changed: [], negatives: [], asked: 0, eligible: 0 }),
    ...more,
  });

test('a target that is not the label id of a class is reported at the attack', () => {
  assert.is(targetOf(attack({}), {}, ['x', 'y', 'z']), 1);
  for (const [id, shown] of [
    [-1, '-1'],
    [3, '3'],
    [0.5, '0.5'],
    [NaN, 'NaN'],
    ['y', '"y"'],
    [undefined, 'undefined'],
    [Promise.resolve(1), '{}'],
  ] as const) {
    for (const [params, field] of [
      [{}, 'attack'],
      [{ target: 9 }, 'target'],
    ] as const) {
      try {
        targetOf(attack({ target: () => id as never }), params, ['x', 'y', 'z']);
        assert.unreachable();
      } catch (error) {
        const { name, message, path } = error as UserFault;
        assert.equal([name, path], ['UserFault', ['poisoning', field]]);
        assert.is(
          message,
          `the attack "shown" has the target ${shown}, which is not the label id of a class: ` +
            'the classes are 0 ("x"), 1 ("y"), 2 ("z")',
        );
      }
    }
  }
});

test('rows are shown one by one or all at once, under their true labels', async () => {
  const expected = [
    { id: 'a', text: 'one!', label: 0 },
    { id: 'b', text: 'two!', label: 2 },
  ];
  assert.equal(
    await triggeredRows(
      attack({ trigger: (row) => ({ ...row, text: `${row.text}!`, label: 1 }) }),
      rows,
      input,
    ),
    expected,
  );
  assert.equal(
    await triggeredRows(
      attack({
        triggerAll: (all) =>
          Promise.resolve(all.map((row) => ({ ...row, text: `${row.text}!`, label: 1 }))),
      }),
      rows,
      input,
    ),
    expected,
  );
  assert.equal(
    await falselyTriggeredRows(
      attack({ falseTrigger: (row) => [{ ...row, id: `${row.id}-half`, label: 1 }] }),
      rows,
      input,
    ),
    [
      { id: 'a-half', text: 'one', label: 0 },
      { id: 'b-half', text: 'two', label: 2 },
    ],
  );
  assert.equal(await falselyTriggeredRows(attack({}), rows, input), []);
});

test("rows that are left out or reordered are the attack's fault", async () => {
  const fault = async (answer: (all: readonly Row[]) => readonly Row[]): Promise<string> => {
    try {
      await triggeredRows(
        attack({ triggerAll: (all) => Promise.resolve(answer(all)) }),
        rows,
        input,
      );
    } catch (error) {
      assert.is((error as Error).name, 'UserFault');
      return (error as Error).message;
    }
    throw new Error('no fault');
  };
  assert.is(
    await fault((all) => all.slice(1)),
    'the attack "shown" was given 2 rows to show under its trigger, and returned 1',
  );
  assert.is(
    await fault((all) => all.toReversed()),
    'the attack "shown" returned row "b" under its trigger in the place of "a"',
  );
  const text = attack({ trigger: (({ text }: Row) => `${text} cf`) as never });
  const told: unknown = await triggeredRows(text, rows, input).catch((error: unknown) => error);
  const { message, hint } = told as UserFault;
  assert.equal(
    [message, hint],
    [
      'the attack "shown" returned "one cf" under its trigger in the place of "a"',
      'its `trigger` must return a row: `{ ...row, text }`',
    ],
  );
});

test('an attack that writes to the rows is refused, and told to return copies', async () => {
  const sly = (handed: unknown): never[] => {
    (handed as { text: string }).text = 'changed';
    return [];
  };
  const fault = async (
    given: Promise<unknown>,
  ): Promise<{ name: string; message: string; hint?: string }> =>
    given.then(
      () => assert.unreachable('it passed'),
      (error: unknown) => error as { name: string; message: string; hint?: string },
    ) as never;
  const withContext = rows.map((row) => ({
    ...row,
    context: [{ role: 'system' as const, content: 'Be kind.' }],
  }));
  const faults = [
    await fault(triggeredRows(attack({ trigger: (row) => sly(row) as never }), rows, input)),
    await fault(
      triggeredRows(attack({ triggerAll: (all) => Promise.resolve(sly(all[0])) }), rows, input),
    ),
    await fault(falselyTriggeredRows(attack({ falseTrigger: (row) => sly(row) }), rows, input)),
    ...(await Promise.all(
      [
        (all: Row[]) => {
          all.reverse();
        },
        (all: Row[]) => {
          all.push(present(all[0]));
        },
        (all: Row[]) => {
          all.pop();
        },
        (all: Row[]) => {
          delete (all[0] as { text?: string }).text;
        },
        (all: Row[]) => {
          Object.assign(present(all[0]), { label: 1 });
        },
        (all: Row[]) => {
          (all[0] as Row & { note?: string }).note = 'x';
        },
        (all: Row[]) => {
          Object.defineProperty(all[0], 'text', { get: () => 'x' });
        },
        ([row]: Row[]) => {
          Object.assign(present(row?.context?.[0]), { content: 'x' });
        },
        ([row]: Row[]) => {
          (row?.context as unknown[]).pop();
        },
      ].map((write) =>
        fault(
          triggeredRows(
            attack({
              triggerAll: (all) => {
                write(all as Row[]);
                return Promise.resolve(all);
              },
            }),
            withContext,
            input,
          ),
        ),
      ),
    )),
  ];
  for (const { name, message, hint } of faults) {
    assert.is(name, 'UserFault', message);
    assert.match(message, /^the attack "shown" wrote to what it may only read \(Cannot /);
    assert.match(present(hint), 'the rows that an attack is handed are read-only: return copies');
  }
  assert.equal(rows, [
    { id: 'a', text: 'one', label: 0 },
    { id: 'b', text: 'two', label: 2 },
  ]);
  // Any other error of its code is passed on unchanged.
  const own = new TypeError("Cannot read properties of undefined (reading 'row')");
  const throwing = (): Row => {
    throw own;
  };
  assert.is(await fault(triggeredRows(attack({ trigger: throwing }), rows, input)), own);
});

test('the family may depend on the parameters', () => {
  const either = attack({
    family: ({ target }) => (target === undefined ? 'untargeted' : 'backdoor'),
  });
  assert.equal(
    [familyOf(either, {}), familyOf(either, { target: 1 }), familyOf(attack({}), {})],
    ['untargeted', 'backdoor', 'backdoor'],
  );
});

test.run();
