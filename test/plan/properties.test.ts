/**
 * Laws of keys: they are equal if what is read is equal, and different if anything differs,
 * whatever the strings and numbers are.
 */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { stringify } from 'yaml';
import {
  type Cell,
  defineAttack,
  defineStage,
  type Digest,
  type Json,
  type JsonObject,
  type StageDefinition,
  type StageDescriptor,
} from '../../src/api.ts';
import { actionKey, contentDigest, definitionKey } from '../../src/plan/keys.ts';
import { planExperiment } from '../../src/plan/plan.ts';
import type { DefinitionKey, KeyComponents, Plan } from '../../src/plan/types.ts';
import type { Experiment } from '../../src/spec/types.ts';
import { present } from '../rig/present.ts';
import { createRegistry } from '../rig/registry.ts';
import { standIn } from '../rig/stand-in.ts';
import { times } from '../rig/times.ts';
import { createRig, type Rig } from '../spec/rig.ts';

const test = suite<{ rig: Rig }>('plan/properties');
test.before(async (context) => {
  context.rig = await createRig();
});

/**
 * A few nasty strings, so that two draws are often similar: prefixes, quotes, escapes, the names of
 * Object's own properties.
 */
const text = fc.oneof(
  fc.constantFrom(
    '',
    'a',
    'ab',
    'b',
    '"',
    '\\',
    '\\"',
    '","',
    '":"',
    '{}',
    '[]',
    'null',
    'true',
    '1',
    '1e21',
    '-0',
    '\u0000',
    '\n',
    '\u2028',
    'é',
    'e\u0301',
    '\ud83d\ude00',
    '\ud800',
    '__proto__',
    'constructor',
    'toString',
    'sha256:',
    'a.b',
    'a/b',
  ),
  fc.string({ maxLength: 3 }),
);
const number = fc.oneof(
  fc.constantFrom(
    0,
    -0,
    1,
    -1,
    1e21,
    1e-7,
    0.1,
    0.30000000000000004,
    2 ** 53,
    5e-324,
    1.7976931348623157e308,
  ),
  fc.integer({ min: -3, max: 3 }),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
);
/** A record that may have an own key `__proto__`, as JSON.parse makes it. */
const record = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<{ readonly [key: string]: T }> =>
  fc
    .uniqueArray(fc.tuple(text, value), { selector: ([key]) => key, maxLength: 3 })
    .map((entries) => Object.fromEntries(entries));
const { json } = fc.letrec<{ json: Json }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constantFrom<Json>(null, true, false),
    number,
    text,
    fc.array(tie('json'), { maxLength: 3 }),
    record(tie('json')),
  ),
}));
const params = record(json) as fc.Arbitrary<JsonObject>;
const digests = record(
  fc.constantFrom('sha256:1', 'sha256:2', 'sha256:12') as fc.Arbitrary<Digest>,
);
const components: fc.Arbitrary<KeyComponents> = fc.record({
  kind: text,
  code: digests,
  params,
  inputs: digests,
  assets: digests,
  backend: fc.constantFrom('tensorflow', 'wasm', 'cpu', null),
});

/** The oracle: whether two values are the same JSON in any order of keys. −0 is 0 in JSON. */
function same(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every(
      (key) => Object.hasOwn(b, key) && same((a as JsonObject)[key], (b as JsonObject)[key]),
    )
  );
}

/** The same value with the keys of all its objects in reverse order. */
function turned<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(turned) as T;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, item]) => [key, turned(item)]),
  ) as T;
}

/**
 * Components, and others that differ from them in one or two parts. Pairs that are drawn
 * independently would hardly ever be similar.
 */
const near: fc.Arbitrary<readonly [KeyComponents, KeyComponents]> = fc
  .tuple(
    components,
    components,
    fc.subarray(['kind', 'code', 'params', 'inputs', 'assets', 'backend'] as const, {
      minLength: 1,
      maxLength: 2,
    }),
  )
  .map(([a, b, parts]) => [
    a,
    { ...a, ...Object.fromEntries(parts.map((part) => [part, b[part]])) },
  ]);
/** Components, and others with the same names and values in another part. */
const moved: fc.Arbitrary<readonly [KeyComponents, KeyComponents]> = components.map((a) => [
  a,
  { ...a, inputs: a.assets, assets: a.inputs },
]);

const many = { numRuns: times(2000, 40_000) };

test('two stages share an action key if and only if they read the same', () => {
  fc.assert(
    fc.property(
      fc.oneof(near, moved, fc.tuple(components, components)),
      ([a, b]) => (actionKey(a) === actionKey(b)) === same(a, b),
    ),
    many,
  );
});

test('two stages share a definition key if and only if they are asked the same', () => {
  const definition = ({
    kind,
    code,
    params: read,
    inputs,
    assets,
  }: KeyComponents): Parameters<typeof definitionKey>[0] => ({
    kind,
    code,
    params: read,
    inputs: standIn<{ readonly [name: string]: DefinitionKey }>(inputs),
    assets,
  });
  fc.assert(
    fc.property(
      fc.oneof(near, moved, fc.tuple(components, components)),
      ([a, b]) =>
        (definitionKey(definition(a)) === definitionKey(definition(b))) ===
        same(definition(a), definition(b)),
    ),
    many,
  );
  fc.assert(
    fc.property(
      components,
      (a) =>
        (definitionKey(standIn<Parameters<typeof definitionKey>[0]>(a)) as string) !== actionKey(a),
    ),
  );
});

test('the order of names changes no key', () => {
  fc.assert(fc.property(components, (a) => actionKey(turned(a)) === actionKey(a)));
});

test('two outputs share a content digest if and only if their lasting files are equal', () => {
  const names = fc.constantFrom(
    'a',
    'ab',
    'a/b',
    'b',
    'a/b/c',
    '__proto__',
    'constructor',
    'metrics.json',
    'metrics.json/x',
    '"',
    'é',
    'e\u0301',
  );
  const files = fc.uniqueArray(
    fc.record({ path: names, sha256: fc.constantFrom('1', '2', '12') }),
    { selector: ({ path }) => path, maxLength: 4 },
  );
  const seen = (list: readonly { readonly path: string; readonly sha256: string }[]): string =>
    JSON.stringify(
      list
        .filter(({ path }) => path !== 'metrics.json')
        .map(({ path, sha256 }) => [path, sha256])
        .sort(),
    );
  fc.assert(
    fc.property(
      files,
      files,
      (a, b) =>
        (contentDigest(a, ['metrics.json']) === contentDigest(b, ['metrics.json'])) ===
        (seen(a) === seen(b)),
    ),
    { numRuns: times(5000, 50_000) },
  );
  fc.assert(fc.property(files, (a) => contentDigest(a.toReversed()) === contentDigest(a)));
});

/** Stages that read a cell as the built-in ones do. */
const stage = (name: string, define: (cell: Cell) => StageDefinition): StageDescriptor =>
  defineStage({
    name,
    summary: 'A fixture.',
    compute: name !== 'poison',
    scope: 'cell',
    define: ([cell]) => define(present(cell)),
    run: () => Promise.resolve(),
  });
const stages = [
  stage('poison', ({ seed, poisoning, data }) => ({
    params: { seed, poisoning },
    inputs: {},
    assets: { data: data.train.source },
  })),
  stage('train', (cell) => ({
    params: { seed: cell.seed, adapter: cell.adapter, train: cell.train },
    inputs: { rows: { kind: 'poison', cell } },
  })),
  stage('ntk', (cell) => ({
    params: { rows: cell.ntk.rows },
    inputs: { model: { kind: 'train', cell } },
  })),
];
const none = defineAttack({
  name: 'none',
  summary: 'Nothing.',
  citation: '-',
  family: 'none',
  params: { type: 'object' },
  poison: () => ({ changed: [], negatives: [], asked: 0, eligible: 0 }),
});
const registry = createRegistry([...stages, none]);

function plan(experiment: Experiment): Plan {
  const planned = planExperiment(experiment, registry, 'cpu');
  if (!planned.ok) throw new Error(planned.diagnostics.map(({ message }) => message).join('\n'));
  return planned.value;
}

const axis = <T extends Json>(value: fc.Arbitrary<T>): fc.Arbitrary<Json> =>
  fc.oneof(value, fc.uniqueArray(value, { minLength: 1, maxLength: 3 }));
const spec = fc
  .record({
    seeds: fc.uniqueArray(fc.nat(9), { minLength: 1, maxLength: 3 }),
    poisoning: fc.uniqueArray(
      fc.oneof(
        fc.constant({ attack: 'none' }),
        fc.record({
          attack: fc.constantFrom('label-flip', 'badnets'),
          rate: axis(fc.constantFrom(0.1, 0.2, 0.3)),
        }),
      ),
      { selector: ({ attack }) => attack, minLength: 1, maxLength: 3 },
    ),
    adapter: fc.uniqueArray(
      fc.oneof(
        fc.constant({ type: 'full' }),
        fc.record({ type: fc.constant('lora'), rank: axis(fc.integer({ min: 1, max: 9 })) }),
      ),
      { selector: ({ type }) => type, minLength: 1, maxLength: 2 },
    ),
    train: fc.record(
      { steps: axis(fc.nat(3)), learning_rate: axis(fc.constantFrom(1e-5, 1e-4)) },
      { requiredKeys: [] },
    ),
    ntk: fc.record({ rows: axis(fc.integer({ min: 1, max: 3 })) }, { requiredKeys: [] }),
  })
  .map((sections) => ({
    name: 'law',
    model: { source: 'pypi:model' },
    data: { train: { source: 'npm:rows' }, validation: { source: 'npm:rows' } },
    stages: ['train', 'ntk'],
    ...sections,
  }));

/** The same value with the lists of variants, axes and seeds in reverse order too. */
function reordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reordered).reverse();
  return typeof value !== 'object' || value === null
    ? value
    : Object.fromEntries(
        Object.entries(value)
          .reverse()
          .map(([key, item]) => [key, reordered(item)]),
      );
}

test("the order of keys, axes, variants and seeds changes no stage's key", async ({ rig }) => {
  await fc.assert(
    fc.asyncProperty(spec, async (value) => {
      const keys = ({ stages: planned }: Plan): string[] =>
        planned.map(({ definition, id }) => `${id} ${definition}`).sort();
      const before = keys(plan(await rig.expand(stringify(value))));
      const commented = stringify(reordered(value))
        .split('\n')
        .map((line) => `${line}  # ${line.length}`)
        .join('\n\n');
      assert.equal(keys(plan(await rig.expand(commented))), before);
    }),
    { numRuns: times(40, 800) },
  );
});

test('in a plan, two stages share a key if and only if they read the same', async ({ rig }) => {
  await fc.assert(
    fc.asyncProperty(spec, async (value) => {
      const { stages: planned } = plan(await rig.expand(stringify(value)));
      const byId = new Map(planned.map((stage) => [stage.id, stage]));
      const whole = (id: Plan['stages'][number]['id']): unknown => {
        const { kind, params: read, inputs, assets } = present(byId.get(id));
        return [
          kind,
          turned(read),
          Object.entries(inputs).map(([name, input]) => [name, whole(input)]),
          assets,
        ];
      };
      assert.is(new Set(planned.map(({ definition }) => definition)).size, planned.length);
      const contents = planned.map(({ id }) => whole(id));
      for (const [i, a] of contents.entries())
        for (const b of contents.slice(0, i)) assert.not.ok(same(a, b));
    }),
    { numRuns: times(20, 400) },
  );
});

test.run();
