/** Laws of expansion, checked on random grids. */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { stringify } from 'yaml';
import type { Json } from '../../src/api.ts';
import type { Experiment } from '../../src/spec/types.ts';
import { times } from '../rig/times.ts';
import { createRig, type Rig } from './rig.ts';

const test = suite<{ rig: Rig }>('properties');
test.before(async (context) => {
  context.rig = await createRig();
});

/** One value, or an axis of up to three values. */
const axis = <T extends Json>(value: fc.Arbitrary<T>): fc.Arbitrary<Json> =>
  fc.oneof(value, fc.uniqueArray(value, { minLength: 1, maxLength: 3 }));
const rate = fc.integer({ min: 0, max: 20 }).map((n) => n / 20);
const train = fc.record(
  {
    learning_rate: axis(fc.constantFrom(1e-5, 1e-4, 1e-3)),
    batch_size: axis(fc.constantFrom(4, 8, 16)),
    shuffle: axis(fc.boolean()),
    steps: axis(fc.nat(9)),
  },
  { requiredKeys: [] },
);
const poisoning = fc.oneof(
  fc.constant({ attack: 'none' }),
  fc.record(
    { attack: fc.constantFrom('label-flip', 'badnets'), rate: axis(rate) },
    { requiredKeys: ['attack'] },
  ),
  fc.record(
    { attack: fc.constant('label-flip'), count: axis(fc.nat(5)) },
    { requiredKeys: ['attack'] },
  ),
  fc.record({
    attack: fc.constant('badnets'),
    triggers: fc.uniqueArray(fc.constantFrom('cf', 'mn', 'bb'), { minLength: 1 }),
  }),
);
const adapter = fc.oneof(
  fc.record({ type: fc.constant('full'), train }, { requiredKeys: ['type'] }),
  fc.record(
    {
      type: fc.constant('lora'),
      rank: axis(fc.integer({ min: 1, max: 64 })),
      alpha: axis(fc.constantFrom<Json>('r', 8, 16)),
      init: fc.record(
        {
          variance: axis(fc.constantFrom<Json>('1/d', 0.5)),
          distribution: axis(fc.constantFrom('uniform', 'normal')),
        },
        { requiredKeys: [] },
      ),
      train,
    },
    { requiredKeys: ['type'] },
  ),
);
const spec = fc
  .record(
    {
      seeds: fc.uniqueArray(fc.nat(99), { minLength: 1, maxLength: 3 }),
      poisoning: fc.array(poisoning, { minLength: 1, maxLength: 3 }),
      adapter: fc.array(adapter, { minLength: 1, maxLength: 3 }),
      train,
      ntk: fc.record({ rows: axis(fc.integer({ min: 1, max: 9 })) }),
    },
    { requiredKeys: ['poisoning', 'adapter'] },
  )
  .map((sections) => ({
    name: 'law',
    model: { source: 'pypi:model' },
    data: { train: { source: 'npm:rows' }, validation: { source: 'npm:rows' } },
    ...sections,
  }));

/** The cells as text, regardless of their order. */
const contents = ({ cells }: Experiment): string[] =>
  cells.map(({ config, axes }) => JSON.stringify([sorted(config), sorted(axes)])).sort();

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, sorted(item)]),
  );
}

/** A spec with keys, variants and axes in reverse order. Lists that are values stay as they are. */
function reversed(value: unknown, key = ''): unknown {
  if (Array.isArray(value))
    return key === 'triggers' ? value : value.map((item) => reversed(item)).reverse();
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([name, item]) => [name, reversed(item, name)]),
  );
}

const runs = { numRuns: times(30, 600) };

test('the order of keys, variants, axes and seeds changes no cell', async ({ rig }) => {
  await fc.assert(
    fc.asyncProperty(spec, async (value) => {
      assert.equal(
        contents(await rig.expand(stringify(reversed(value)))),
        contents(await rig.expand(stringify(value))),
      );
    }),
    runs,
  );
});

test('comments, blank lines and style change neither cells nor their order', async ({ rig }) => {
  await fc.assert(
    fc.asyncProperty(spec, async (value) => {
      const block = stringify(value)
        .split('\n')
        .map((line) => `${line}  # ${line.length}\n# remark`)
        .join('\n\n');
      const plain = await rig.expand(JSON.stringify(value)),
        commented = await rig.expand(block);
      assert.equal(
        commented.cells.map(({ label, config }) => [label, config]),
        plain.cells.map(({ label, config }) => [label, config]),
      );
    }),
    runs,
  );
});

test('widening an axis keeps every cell', async ({ rig }) => {
  await fc.assert(
    fc.asyncProperty(spec, async (value) => {
      const wider = {
        ...value,
        poisoning: [...value.poisoning, { attack: 'label-flip', rate: 0.99 }],
      };
      const before = (await rig.expand(stringify(value))).cells.map(({ config }) =>
        JSON.stringify(config),
      );
      const after = new Set(
        (await rig.expand(stringify(wider))).cells.map(({ config }) => JSON.stringify(config)),
      );
      assert.ok(before.every((cell) => after.has(cell)));
    }),
    runs,
  );
});

test('no two cells are equal, share their axes and seed, or share a label', async ({ rig }) => {
  await fc.assert(
    fc.asyncProperty(spec, async (value) => {
      const { cells } = await rig.expand(stringify(value));
      for (const names of [
        cells.map(({ config }) => JSON.stringify(config)),
        cells.map(({ axes, config }) => JSON.stringify([axes, config.seed])),
        cells.map(({ label }) => label),
      ])
        assert.is(new Set(names).size, cells.length);
    }),
    runs,
  );
});

test('the number of cells of one variant each is the product of the axes', async ({ rig }) => {
  const one = spec.filter((value) => value.poisoning.length === 1 && value.adapter.length === 1);
  await fc.assert(
    fc.asyncProperty(one, async (value) => {
      const size = (field: unknown): number => (Array.isArray(field) ? field.length : 1);
      const product = (
        fields: Record<string, unknown> | undefined,
        except: readonly string[] = [],
      ): number =>
        Object.entries(fields ?? {}).reduce(
          (count, [key, field]) => (except.includes(key) ? count : count * size(field)),
          1,
        );
      const variant: Record<string, unknown> = value.adapter[0] ?? {};
      const tuned = { ...value.train, ...(variant.train as Record<string, unknown> | undefined) };
      const expected =
        size(value.seeds) *
        product(value.poisoning[0], ['triggers']) *
        product(variant, ['init', 'train']) *
        product(variant.init as Record<string, unknown> | undefined) *
        product(tuned) *
        product(value.ntk);
      assert.is((await rig.expand(stringify(value))).cells.length, expected);
    }),
    runs,
  );
});

test('the resolved spec is a spec with the same grid', async ({ rig }) => {
  await fc.assert(
    fc.asyncProperty(spec, async (value) => {
      const first = await rig.expand(stringify(value));
      const second = await rig.expand(stringify(first.resolved));
      assert.equal(contents(second), contents(first));
      assert.equal(second.resolved, first.resolved);
    }),
    runs,
  );
});

test('no text makes the loader throw', async ({ rig }) => {
  const words = fc.constantFrom(
    'name',
    'train',
    'adapter',
    'poisoning',
    'type',
    'attack',
    'lora',
    'badnets',
    'rank',
    '1',
    '-1',
    '1.5',
    '${',
    '}',
    '[',
    ']',
    '{',
    ': ',
    '\n',
    '  ',
    '- ',
    '*a',
    '&a ',
    '"',
    '<<',
    'when',
    'linspace',
    'null',
    ',',
    'steps',
    'extends',
    'tags',
    '#',
    '!t ',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(words, { maxLength: 25 }), async (parts) => {
      const result = await rig.load(parts.join(''));
      assert.ok(result.ok || result.diagnostics.length > 0);
    }),
    { numRuns: times(200, 5000) },
  );
});

test.run();
