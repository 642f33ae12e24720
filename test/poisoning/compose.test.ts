/** Attacks one after the other on hand-made rows, their draws written down. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import addsent from '../../plugins/attacks/addsent.ts';
import badnets from '../../plugins/attacks/badnets.ts';
import combination from '../../plugins/attacks/combination.ts';
import labelFlip from '../../plugins/attacks/label-flip.ts';
import none from '../../plugins/attacks/none.ts';
import type { AttackDescriptor, Poisoning, Row } from '../../src/api.ts';
import { attackStreams } from '../../src/base/random.ts';
import { checkSteps, mergeSteps, poisonRows } from '../../src/poisoning/compose.ts';
import { checkReceipt, makeReceipt } from '../../src/poisoning/receipt.ts';
import { backdoorOf, familyOfSteps, openSteps } from '../../src/poisoning/steps.ts';
import { present } from '../rig/present.ts';
import { standIn } from '../rig/stand-in.ts';
import { rowsOf, scripted } from './scripted.ts';

const test = suite('composed attacks');
const classes = ['ham', 'spam'];
const attacks = standIn<{
  readonly [name: string]: AttackDescriptor;
}>({ badnets, addsent, combination, 'label-flip': labelFlip, none });
const open = (poisoning: Poisoning) => openSteps(poisoning, (name) => present(attacks[name]));
const of = (attack: string, steps: { readonly [name: string]: object }): Poisoning =>
  standIn<Poisoning>({ attack, steps });
const flip = (rate: number) => ({ rate }),
  words = (rate: number) => ({ rate, target: 'spam', mode: 'dirty', triggers: ['cf', 'mn'] });
const log = (): void => undefined;

const rows = rowsOf(['one two', 0], ['three', 1], ['four five', 0], ['six', 1], ['seven', 0]);
const streams: { readonly [attack: string]: ReturnType<typeof scripted> } = {
  'label-flip': scripted({
    rows: { permutation: [1, 2, 0, 3, 4] },
    'label/r1': { integers: [0] },
    'label/r2': { integers: [0] },
  }),
  // badnets passes over row 3, which has the target class, and rows 2 and 1, which label-flip took,
  // although row 1's new label would make it eligible.
  badnets: scripted({ rows: { permutation: [3, 2, 1, 0, 4] }, 'trigger/r0': { integers: [1, 2] } }),
};

test('a later step passes over rows that an earlier one has poisoned', async () => {
  const poisoning = of('label-flip+badnets', { 'label-flip': flip(0.4), badnets: words(0.2) });
  const { rows: made, steps } = await poisonRows(rows, open(poisoning), {
    classes,
    streams: (attack) => present(streams[attack]),
    log,
  });
  assert.equal(made, [
    { id: 'r0', text: 'one two mn', label: 1 },
    { id: 'r1', text: 'three', label: 0 },
    { id: 'r2', text: 'four five', label: 1 },
    { id: 'r3', text: 'six', label: 1 },
    { id: 'r4', text: 'seven', label: 0 },
  ]);
  const { attack, ...params } = poisoning,
    receipt = makeReceipt(rows, made, mergeSteps(steps), attack, params, 3, steps);
  const { digests: _digests, ...said } = receipt;
  assert.equal(said, {
    format: 1,
    attack: 'label-flip+badnets',
    params,
    seed: 3,
    counts: { total: 5, asked: 3, made: 3, negatives: 0 },
    steps: [
      { attack: 'label-flip', counts: { asked: 2, eligible: 5, made: 2, negatives: 0 } },
      { attack: 'badnets', counts: { asked: 1, eligible: 2, made: 1, negatives: 0 } },
    ],
    rows: [
      {
        id: 'r0',
        index: 0,
        original: { text: 'one two', label: 0 },
        new: { text: 'one two mn', label: 1 },
        step: 'badnets',
      },
      {
        id: 'r1',
        index: 1,
        original: { text: 'three', label: 1 },
        new: { text: 'three', label: 0 },
        step: 'label-flip',
      },
      {
        id: 'r2',
        index: 2,
        original: { text: 'four five', label: 0 },
        new: { text: 'four five', label: 1 },
        step: 'label-flip',
      },
    ],
    negatives: [],
  });
  assert.is(checkReceipt(made, receipt), null);
  const [first, ...others] = receipt.rows,
    counts = (made: number) => ({ asked: 1, eligible: 2, made, negatives: 0 });
  assert.is(
    checkReceipt(made, {
      ...receipt,
      rows: [{ ...present(first), step: 'label-flip' }, ...others],
    }),
    'The receipt counts 2 poisoned rows of step "label-flip" and lists 3.',
  );
  assert.is(
    checkReceipt(made, { ...receipt, steps: [present(receipt.steps?.[0])] }),
    "The receipt's steps add up to 2 poisoned rows and 0 negatives, the receipt counts 3 and 0.",
  );
  assert.is(
    checkReceipt(made, {
      ...receipt,
      steps: [present(receipt.steps?.[0]), { attack: 'badnets', counts: counts(0) }],
    }),
    'Of step "badnets" 1 poisoned rows were asked for and 0 were made.',
  );
});

const many: Row[] = Array.from({ length: 60 }, (_, i) => ({
  id: `r${i}`,
  text: `mail ${i} of many`,
  label: i % 2,
}));
const drawn = async (
  poisoning: Poisoning,
): Promise<{ readonly [step: string]: ReadonlySet<number> }> => {
  const { steps } = await poisonRows(many, open(poisoning), {
    classes,
    streams: (attack) => attackStreams(3, attack),
    log,
  });
  return Object.fromEntries(
    steps.map(({ attack, poisoned: { changed } }) => [
      attack,
      new Set(changed.map(({ index }) => index)),
    ]),
  );
};
const within = (some: ReadonlySet<number>, others: ReadonlySet<number>): boolean =>
  [...some].every((index) => others.has(index));

test('each step draws as it would alone, except for rows that are taken', async () => {
  const both = (flips: number, triggers: number) =>
    drawn(of('label-flip+badnets', { 'label-flip': flip(flips), badnets: words(triggers) }));
  const alone = await drawn({ attack: 'label-flip', ...flip(0.3) }),
    flips = present(alone['label-flip']),
    triggers = present((await drawn({ attack: 'badnets', ...words(0.2) }))['badnets']);
  const together = await both(0.3, 0.2),
    besides = present(together['badnets']);
  assert.equal(together['label-flip'], flips);
  assert.is(besides.size, 12);
  const free = new Set([...triggers].filter((index) => !flips.has(index)));
  assert.ok(free.size < 12, 'the two attacks must draw some row both');
  assert.ok(within(free, besides));
  assert.not.ok([...flips].some((index) => besides.has(index)));
  // The rows of each attack at a lower rate are among those at a higher one.
  assert.ok(within(present((await both(0.3, 0.1))['badnets']), besides));
  assert.ok(within(present((await both(0.1, 0.2))['label-flip']), flips));
  assert.equal((await both(0, 0.2))['badnets'], triggers);
});

test('the rows of a step do not depend on the negatives of an earlier one', async () => {
  const two = { rate: 0.1, target: 'spam', mode: 'dirty', triggers: ['cf', 'bb'], negatives: true };
  const { rows: made, steps } = await poisonRows(
    many,
    open(of('combination+label-flip', { combination: two, 'label-flip': flip(0.1) })),
    { classes, streams: (attack) => attackStreams(3, attack), log },
  );
  assert.equal(
    [made.length, made.slice(0, 60).map(({ id }) => id)],
    [72, many.map(({ id }) => id)],
  );
  assert.equal(
    steps.map(({ poisoned: { changed, negatives } }) => [changed.length, negatives.length]),
    [
      [6, 12],
      [6, 0],
    ],
  );
  assert.is(
    checkReceipt(made, makeReceipt(many, made, mergeSteps(steps), 'a', {}, 3, steps)),
    null,
  );
});

const fault = async (promise: Promise<unknown>): Promise<readonly [string, string | undefined]> => {
  try {
    await promise;
  } catch (error) {
    if ((error as Error).name !== 'UserFault') throw error;
    return [(error as Error).message, (error as { hint?: string }).hint];
  }
  throw new Error('it passed');
};

test('too few rows for a step, and an attack that ignores `taken`, are refused', async () => {
  const greedy = of('label-flip+badnets', { 'label-flip': flip(0.8), badnets: words(0.3) });
  assert.equal(await fault(drawn(greedy)), [
    'The attack asks for 18 rows (rate 0.3 of 60), but only 4 of 60 are eligible: mode dirty ' +
      'draws among rows whose label is not "spam", and 48 rows are an earlier step\'s.',
    'Lower the dose, take more training rows, or choose another `mode` where the attack has one.',
  ]);
  const deaf = standIn<AttackDescriptor>({
    ...labelFlip,
    name: 'deaf',
    poison: () => ({
      changed: [{ index: 1, row: { ...present(many[1]), label: 0 } }],
      negatives: [],
      asked: 1,
      eligible: 1,
    }),
  });
  const steps = [
    { attack: { ...deaf, name: 'first' }, params: {}, files: {} },
    { attack: deaf, params: {}, files: {} },
  ];
  assert.equal(
    await fault(
      poisonRows(many, steps, { classes, streams: (attack) => attackStreams(3, attack), log }),
    ),
    [
      'The attack "deaf" changed row r1, which an earlier step had poisoned.',
      'An attack that comes after another one must not change the rows in `taken` ' +
        '(AttackInput in src/api/attack.ts): let "deaf" be the first step, ' +
        'or read `taken` in it.',
    ],
  );
});

test('with one backdoor among the steps, the whole is one; two are refused', async () => {
  const one = open(of('label-flip+badnets', { 'label-flip': flip(0.1), badnets: words(0.1) }));
  assert.equal([familyOfSteps(one), backdoorOf(one)?.attack.name], ['backdoor', 'badnets']);
  const flips = open({ attack: 'label-flip', rate: 0.1 });
  assert.equal(
    [familyOfSteps(flips), backdoorOf(flips), familyOfSteps(open({ attack: 'none' }))],
    ['untargeted', null, 'none'],
  );
  const two = open(
    of('badnets+addsent', {
      badnets: words(0.1),
      addsent: { rate: 0.1, target: 1, mode: 'dirty' },
    }),
  );
  assert.equal(await fault(Promise.resolve().then(() => backdoorOf(two))), [
    '"badnets" and "addsent" are both backdoors, and a cell is evaluated under one trigger.',
    'Compose one backdoor with untargeted attacks, or give each backdoor a variant of its own.',
  ]);
});

test('doses that can never fit are reported at their step before anything runs', () => {
  const steps = open(of('label-flip+badnets', { 'label-flip': flip(0.8), badnets: words(0.3) }));
  assert.equal(
    checkSteps(steps, { counts: [30, 30] }, ({ attack, params }) =>
      attack.check!({ params, classes, counts: [30, 30] }),
    ),
    [
      {
        path: ['poisoning', 'steps', 'badnets', 'rate'],
        message:
          'The attack asks for 18 of 60 rows, and the steps before it leave 12: no row is ' +
          'poisoned twice.',
        hint: 'Lower the doses, or take more training rows.',
      },
    ],
  );
  const alone = open(of('badnets+label-flip', { badnets: words(0.9), 'label-flip': flip(0.05) }));
  assert.equal(
    checkSteps(alone, { counts: [30, 30] }, ({ attack, params }) =>
      attack.check!({ params, classes, counts: [30, 30] }),
    ).map(({ path, message }) => [path.join('.'), message]),
    [
      [
        'poisoning.steps.badnets.rate',
        'The attack asks for 54 rows (rate 0.9 of 60), but only 30 of 60 are eligible: mode ' +
          'dirty draws among rows whose label is not "spam".',
      ],
    ],
  );
});

test.run();
