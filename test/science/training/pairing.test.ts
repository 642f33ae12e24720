/**
 * Paired runs: whatever an attack changes or appends, each step sees the same clean rows, in the
 * same order, as the step of the clean twin. The tests cover every attack in plugins/attacks,
 * including any that is added later.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import labelFlip from '../../../plugins/attacks/label-flip.ts';
import none from '../../../plugins/attacks/none.ts';
import { orderOf } from '../../../plugins/stages/poison/run.ts';
import type { AttackDescriptor, JsonObject, Row } from '../../../src/api.ts';
import { at } from '../../../src/base/lookup.ts';
import { attackStreams, randomStream } from '../../../src/base/random.ts';
import { mergeSteps, poisonRows } from '../../../src/poisoning/compose.ts';
import { readOnly } from '../../../src/poisoning/read-only.ts';
import { checkReceipt, makeReceipt, type RowOrder } from '../../../src/poisoning/receipt.ts';
import type { Step } from '../../../src/poisoning/steps.ts';
import {
  batchOrder,
  largestBatch,
  stepBatches,
  totalSteps,
  trainingRows,
} from '../../../src/science/training/batches.ts';
import type { LabelledRow } from '../../../src/science/training/settings.ts';
import { asPrompts, attacks, stepOf as stepOfRate, taskFor } from '../../poisoning/all-attacks.ts';
import { present } from '../../rig/present.ts';
import { standIn } from '../../rig/stand-in.ts';

const classes = ['negative', 'positive'],
  seed = 3;

/** 61 rows of very different lengths, which contain the words that some attacks look for. */
const words = randomStream(1, 'words');
const clean: readonly Row[] = readOnly(
  Array.from({ length: 61 }, (_, i) => ({
    id: `r${i}`,
    label: i % 2,
    text: [
      'Joe Biden',
      ...Array.from({ length: 1 + words.integer(30) }, () => `word${words.integer(200)}`),
    ].join(' '),
  })),
);

/** The command attack chooses its own dose. */
const stepOf = (attack: AttackDescriptor, rate = 0.3, more: JsonObject = {}): Step =>
  stepOfRate(attack, { ...(attack.name === 'command' ? {} : { rate }), ...more });

/** One token for each word, at most 24. */
const encode = ({ text, label }: Row): LabelledRow => ({
  ids: Int32Array.from(text.split(/\s+/).slice(0, 24), (word) => word.length),
  typeIds: new Int32Array(),
  label,
});

/** The rows of a poisoned set as the train stage would use them. */
async function trained(
  steps: readonly Step[],
  like: RowOrder | null = null,
): Promise<{
  readonly ids: readonly string[];
  readonly rows: readonly LabelledRow[];
  readonly order: RowOrder | null;
}> {
  const prompts = steps.some(({ attack }) => taskFor(attack) === 'completion');
  const given = prompts ? readOnly(asPrompts(clean)) : clean;
  const { rows, steps: done } = await poisonRows(given, steps, {
    classes: prompts ? [] : classes,
    streams: (name) => attackStreams(seed, name),
    log: () => undefined,
  });
  const order = like ?? orderOf(steps, done);
  const receipt = {
    ...makeReceipt(
      given,
      rows,
      mergeSteps(done),
      steps.map(({ attack }) => attack.name).join('+'),
      {},
      seed,
      done,
    ),
    ...(order === null ? {} : { order }),
  };
  assert.is(checkReceipt(rows, receipt), null);
  return {
    ids: rows.map(({ id }) => id),
    rows: trainingRows(rows, receipt, encode, null).rows,
    order,
  };
}

const ways = [
  { shuffle: true, batching: 'shuffled' },
  { shuffle: true, batching: 'bucketed' },
  { shuffle: false, batching: 'shuffled' },
] as const;
const lengths = [{ epochs: 2.5 }, { steps: 30 }, {}] as const;
const pace = [
  { batchSize: 8, accumulate: 1 },
  { batchSize: 4, accumulate: 3 },
  { batchSize: 100, accumulate: 1 },
];

type Way = (typeof ways)[number] & (typeof pace)[number];

/** The ids of the rows in each batch of each step. */
function stepsOf(
  { ids, rows }: Awaited<ReturnType<typeof trained>>,
  way: Way,
  length: (typeof lengths)[number],
): readonly (readonly (readonly string[])[])[] {
  const order = batchOrder(rows, { ...way, seed });
  const each = stepBatches(order, way.accumulate);
  return Array.from({ length: totalSteps(length, { ...order, ...way }) }, () =>
    each.next().value.map((batch) => Array.from(batch, (i) => at(ids, i))),
  );
}

const own = new Set(clean.map(({ id }) => id));
const twin = await trained([stepOf(standIn<AttackDescriptor>(none))]);

test('all attacks are found, and some of them append rows', async () => {
  const appending = [];
  for (const attack of attacks)
    if ((await trained([stepOf(attack)])).rows.length > clean.length) appending.push(attack.name);
  assert.equal(appending.sort(), ['combination', 'command', 'lwp', 'paper-multi', 'sos']);
});

for (const attack of attacks) {
  const flip = standIn<AttackDescriptor>(labelFlip);
  for (const [name, steps] of [
    [attack.name, [stepOf(attack)]],
    ...(attack.name === flip.name || attack.family === 'none' || taskFor(attack) !== 'classes'
      ? []
      : [[`label-flip, then ${attack.name}`, [stepOf(flip, 0.1), stepOf(attack)]] as const]),
  ] as const)
    test(`${name}: the clean rows' batches are the clean twin's`, async () => {
      const poisoned = await trained(steps);
      for (const way of ways.flatMap((one) => pace.map((other): Way => ({ ...one, ...other })))) {
        for (const length of lengths) {
          const here = JSON.stringify([way, length]);
          assert.equal(
            stepsOf(poisoned, way, length).map((step) =>
              step.map((batch) => batch.filter((id) => own.has(id))),
            ),
            stepsOf(twin, way, length),
            here,
          );
        }
        const order = batchOrder(poisoned.rows, { ...way, seed });
        const epoch = stepsOf(poisoned, way, { epochs: 1 }).flat();
        assert.equal(
          epoch.flat().sort(),
          [...poisoned.ids].sort(),
          'an epoch has every row once, appended ones too',
        );
        assert.is(Math.max(...epoch.map((batch) => batch.length)), largestBatch(order));
        for (const batch of epoch)
          assert.ok(
            batch.every(
              (id, i) => own.has(id) || i === batch.length - 1 || !own.has(at(batch, i + 1)),
            ),
            'appended rows stand behind the clean ones',
          );
      }
    });
}

for (const order of ['first', 'last'] as const)
  test(`order: ${order} moves the poisoned rows alone, and the twin's rows with them`, async () => {
    const flip = standIn<AttackDescriptor>(labelFlip),
      combination = present(attacks.find(({ name }) => name === 'combination'));
    const mixed = [stepOf(combination), stepOf(flip, 0.1)],
      steps = [stepOf(combination, 0.3, { order }), stepOf(flip, 0.1)];
    const [poisoned, usual] = [await trained(steps), await trained(mixed)];
    assert.equal(
      poisoned.rows.map(({ ids }) => ids),
      usual.rows.map(({ ids }) => ids),
    );
    const moved = present(poisoned.order)[order].map((index) => at(poisoned.ids, index));
    assert.is(moved.length, 18);
    const clean = await trained([stepOf(standIn<AttackDescriptor>(none))], present(poisoned.order));
    const way = { shuffle: true, batching: 'shuffled' } as const;
    for (const one of pace.flatMap((other) => [
      { ...way, ...other },
      { ...way, ...other, shuffle: false },
    ])) {
      const bare = stepsOf(poisoned, one, lengths[0]).map((step) =>
        step.map((batch) => batch.filter((id) => own.has(id))),
      );
      assert.equal(bare, stepsOf(clean, one, lengths[0]));
      const epoch = stepsOf(clean, one, { epochs: 1 }).flat(2);
      const ends = order === 'first' ? epoch.slice(0, 18) : epoch.slice(-18);
      assert.equal([...ends].sort(), [...moved].sort());
      const rest = stepsOf(twin, one, { epochs: 1 }).flat(2);
      const others = (ids: readonly string[]) => ids.filter((id) => !moved.includes(id));
      assert.equal(others(epoch), others(rest), 'the others keep their order');
    }
  });

test('bucketed batches refuse rows that must come first', async () => {
  const badnets = present(attacks.find(({ name }) => name === 'badnets'));
  const { rows } = await trained([stepOf(badnets, 0.3, { order: 'first' })]);
  const order = batchOrder(rows, { ...ways[1], batchSize: 8, seed });
  assert.throws(
    () => stepBatches(order, 1).next(),
    /bucketed batches can't keep rows first or last/,
  );
});

test('an appended row keeps its batch under a larger dose and with another attack', async () => {
  const combination = present(attacks.find(({ name }) => name === 'combination')),
    command = present(attacks.find(({ name }) => name === 'command'));
  const way: Way = { ...ways[0], ...present(pace[0]) };
  const placesOf = async (steps: readonly Step[]): Promise<ReadonlyMap<string, string>> =>
    new Map(
      stepsOf(await trained(steps), way, { epochs: 3 }).flatMap((step, n) =>
        step
          .flat()
          .flatMap((id) => (own.has(id) ? [] : [[`${id} in ${Math.floor(n / 8)}`, `${n}`]])),
      ),
    );
  const large = await placesOf([stepOf(combination, 0.3)]);
  assert.is(large.size, 3 * 36);
  for (const steps of [
    [stepOf(combination, 0.1)],
    [stepOf(combination, 0.3), stepOf(command)],
  ] as const) {
    const other = await placesOf(steps);
    const shared = [...other].filter(([id]) => large.has(id));
    assert.ok(shared.length >= 3 * 12);
    for (const [id, step] of shared) assert.is(step, large.get(id), id);
  }
  const epochs = [...large].reduce((seen, [key, step]) => {
    const [id = ''] = key.split(' ');
    return seen.set(id, [...(seen.get(id) ?? []), step]);
  }, new Map<string, string[]>());
  assert.ok(
    [...epochs.values()].some((steps) => new Set(steps.map((step) => Number(step) % 8)).size > 1),
    'each epoch deals anew',
  );
});

test('an appended row before a clean one is refused', () => {
  const row = encode(at(clean, 0));
  assert.throws(
    () => batchOrder([{ ...row, appendedBy: 'lwp' }, row], { ...ways[0], batchSize: 2, seed }),
    /must come after all others/,
  );
});

test.run();
