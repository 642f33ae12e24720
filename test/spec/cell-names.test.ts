/** The names of cells: what of a variant is part of its label. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../src/api.ts';
import { cellAt, createRig, first, minimal, registry, type Rig } from './rig.ts';

const test = suite<{ rig: Rig }>('names of cells');
test.before.each(async (context) => {
  context.rig = await createRig();
});

test('adapters that differ only in `train` have names that show it', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}adapter:
  - { type: lora, train: { learning_rate: [0.001, 0.01] } }
  - { type: lora, train: { learning_rate: 0.1 } }
`,
  );
  assert.equal(
    cells.map(({ config }) => config.train.learning_rate),
    [0.001, 0.01, 0.1],
  );
  assert.equal(
    cells.map(({ label }) => label),
    ['learning_rate=0.001', 'learning_rate=0.01', 'learning_rate=0.1'],
  );
});

test('a list is not an axis where the value of the field is a list', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}poisoning: { attack: badnets, triggers: [cf, mn, bb] }
adapter: { type: lora, targets: [query, value] }
ntk: { at: [final] }
`,
  );
  assert.is(cells.length, 1);
  const { poisoning, adapter } = first(cells).config;
  assert.equal(poisoning['triggers'], ['cf', 'mn', 'bb']);
  assert.equal(adapter['targets'], ['query', 'value']);
});

test('a list is part of the name only if it differs between variants', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}poisoning: { attack: badnets }
adapter: [{ type: lora, targets: [query] }, { type: lora }]
`,
  );
  assert.equal(
    cells.map(({ axes }) => axes['adapter.targets']),
    [['query'], 'all-linear'],
  );
  assert.equal(
    cells.map(({ label }) => label),
    ['targets=query', 'targets=all-linear'],
  );
  assert.not('poisoning.triggers' in first(cells).axes);
});

test('a field that only one of two variants has is part of the name', async ({ rig }) => {
  for (const variants of [
    '{ attack: label-flip, count: 5 }, { attack: label-flip }',
    '{ attack: label-flip }, { attack: label-flip, count: 5 }',
  ]) {
    const { cells } = await rig.expand(`${minimal}poisoning: [${variants}]\n`);
    assert.equal(cells.map(({ label }) => label).sort(), ['count=5', 'rate=0.3']);
  }
  await rig.write({ 'a/adapter_config.json': '{}' });
  for (const variants of [
    '{ type: lora, init_from: a }, { type: lora }',
    '{ type: lora }, { type: lora, init_from: a }',
  ]) {
    const { cells } = await rig.expand(`${minimal}adapter: [${variants}]\n`);
    assert.equal(cells.map(({ label }) => label).sort(), [
      'attack=none type=lora',
      `init_from=${rig.dir}/a`,
    ]);
  }
});

test('an axis of attacks stands for one variant an attack', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}poisoning: { attack: [label-flip, badnets], rate: [0.1, 0.2] }\n`,
  );
  assert.equal(
    cells.map(({ label }) => label),
    [
      'attack=label-flip rate=0.1',
      'attack=label-flip rate=0.2',
      'attack=badnets rate=0.1',
      'attack=badnets rate=0.2',
    ],
  );
});

test('axes of other sections multiply too, and their names are short', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}train: { batch_size: [8, 16] }\nevaluate: { batch_size: [32, 64] }\n`,
  );
  assert.equal(
    cells.map(({ label }) => label),
    [
      'train.batch_size=8 evaluate.batch_size=32',
      'train.batch_size=8 evaluate.batch_size=64',
      'train.batch_size=16 evaluate.batch_size=32',
      'train.batch_size=16 evaluate.batch_size=64',
    ],
  );
});

test('the only cell of a grid is named by its plugins', async ({ rig }) => {
  const { cells } = await rig.expand(minimal);
  assert.equal(
    cells.map(({ label }) => label),
    ['attack=none type=full'],
  );
});

/** A registry in which `alpha: r` is the same as the rank as a number. */
const canonical = {
  ...registry,
  adapters: registry.adapters.map((adapter) => ({
    ...adapter,
    canonical: (params: JsonObject): JsonObject =>
      params['alpha'] === 'r' ? { ...params, alpha: params['rank'] ?? null } : params,
  })),
};

test('a cell with two names appears once and has both', async ({ rig }) => {
  const text = minimal.concat(
    'seeds: [1, 2]\nadapter: { type: lora, rank: [8, 16], alpha: [r, 16] }\n',
  );
  const named = async (options: object) =>
    (await rig.expand(text, { registry: canonical, ...options })).cells.map(({ label, also }) => [
      label,
      ...also.map((other) => other.label),
    ]);
  assert.equal(await named({}), [
    ['rank=8 alpha=r seed=1'],
    ['rank=8 alpha=r seed=2'],
    ['rank=8 alpha=16 seed=1'],
    ['rank=8 alpha=16 seed=2'],
    ['rank=16 alpha=r seed=1', 'rank=16 alpha=16 seed=1'],
    ['rank=16 alpha=r seed=2', 'rank=16 alpha=16 seed=2'],
  ]);
  assert.equal(
    await named({ only: ['rank=16', 'alpha=16', 'seed=2'] }),
    [['rank=16 alpha=16 seed=2']],
    'either name selects it',
  );
  const { axes, also } = cellAt((await rig.expand(text, { registry: canonical })).cells, 4);
  assert.equal(
    [axes, ...also.map((other) => other.axes)].map((names) => names['adapter.alpha']),
    ['r', 16],
  );
  assert.is((await rig.expand(text)).cells.length, 8, 'without a form that they share');
});

test('a cell whose base has two names appears once too', async ({ rig }) => {
  const text = `${minimal}base: { adapter: { type: lora, rank: 16, alpha: [r, 16] } }
adapter:
  - { type: full }
  - { type: lora, rank: 16, alpha: [r, 16], train: { learning_rate: [0.1, 0.2] } }
poisoning: { attack: label-flip, rate: [0.1, 0.2] }
`;
  const { cells } = await rig.expand(text, { registry: canonical });
  assert.is(cells.length, 2 * (1 + 2));
  assert.equal(
    cells.map(({ also }) => also.length),
    [1, 3, 3, 1, 3, 3],
  );
});

test('an alias has a name in each of its places', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}adapter: &own { type: lora, rank: [2, 4] }
base: { adapter: *own }
`,
  );
  assert.equal(
    cells.map(({ axes }) => [axes['base.adapter.rank'], axes['adapter.rank']]),
    [2, 4].flatMap((base) => [2, 4].map((rank) => [base, rank])),
  );
});

test.run();
