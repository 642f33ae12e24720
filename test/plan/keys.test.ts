import canonicalize from 'canonicalize';
import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Digest } from '../../src/api.ts';
import { canonical } from '../../src/base/canonical.ts';
import { actionKey, contentDigest, definitionKey, hashOf } from '../../src/plan/keys.ts';
import type { DefinitionKey, KeyComponents } from '../../src/plan/types.ts';

const digest = (digit: string): Digest => `sha256:${digit.repeat(64)}` as Digest;
const components: KeyComponents = {
  kind: 'train',
  code: { 'stages/train': digest('a'), 'models/bert': digest('b') },
  params: { steps: 3, learning_rate: 3e-5, name: 'β' },
  inputs: { rows: digest('c') },
  assets: { model: digest('d') },
  backend: 'tensorflow',
};

// If these digests change, so do every user's keys: that needs a new tag and a line in the
// changelog.
test('digests of fixed structures are pinned', () => {
  assert.is(canonical({ b: [1e21, 3e-5, -0], a: 'β\n' }), '{"a":"β\\n","b":[1e+21,0.00003,0]}');
  assert.is(actionKey(components), hashOf('dosimeter.action/1', components));
  assert.is(
    actionKey(components),
    '2af89e58384ba3204fe46cfd410d871f2205065dc45dfcabba06e9c7d9ca9312',
  );
  assert.is(
    definitionKey({
      kind: 'train',
      code: { 'stages/train': digest('a') },
      params: {},
      inputs: { rows: 'f'.repeat(64) as DefinitionKey },
      assets: { model: 'file:/m' },
    }),
    'f57e9b2d91e5faf978b134da6fc019afd9d2cae00b25f36e91e5a46944cef1df',
  );
  assert.is(
    contentDigest(
      [
        { path: 'b', sha256: '22' },
        { path: 'a', sha256: '11' },
        { path: 'time.json', sha256: '33' },
      ],
      ['time.json'],
    ),
    'sha256:e0d5e2166237dd8646beeb642b446bd35784a07573caf9eb8fb9306814753eff',
  );
});

test('a stage key is the digest of all its components', () => {
  const record = fc.dictionary(fc.string(), fc.string());
  fc.assert(
    fc.property(
      fc.record({
        kind: fc.string(),
        code: record,
        params: fc.dictionary(fc.string(), fc.jsonValue()),
        inputs: record,
        assets: record,
        backend: fc.option(fc.constantFrom('tensorflow', 'cpu')),
      }),
      (drawn) => {
        const whole = drawn as KeyComponents;
        assert.is(actionKey(whole), hashOf('dosimeter.action/1', whole));
        const { backend: _, ...asked } = drawn;
        const definition = asked as Omit<KeyComponents, 'backend' | 'inputs'> & {
          readonly inputs: { readonly [name: string]: DefinitionKey };
        };
        assert.is(definitionKey(definition), hashOf('dosimeter.definition/1', asked));
      },
    ),
  );
});

test('the pre-image of a key is RFC 8785 JSON under a tag, checked by hand', async () => {
  const { createHash } = await import('node:crypto');
  const image = '["dosimeter.content/1",{"a":"11","b":"22"}]';
  assert.is(
    contentDigest([
      { path: 'b', sha256: '22' },
      { path: 'a', sha256: '11' },
    ]),
    `sha256:${createHash('sha256').update(image).digest('hex')}`,
  );
});

test('the order of names does not matter to a key; every part does', () => {
  const turned: KeyComponents = {
    ...components,
    code: Object.fromEntries(Object.entries(components.code).reverse()),
    params: Object.fromEntries(Object.entries(components.params).reverse()),
  };
  assert.is(actionKey(turned), actionKey(components));
  const changes: Partial<KeyComponents>[] = [
    { kind: 'tune' },
    { code: { ...components.code, 'stages/train': digest('e') } },
    { params: { ...components.params, steps: 4 } },
    { inputs: { rows: digest('e') } },
    { inputs: { row: digest('c') } },
    { assets: { model: digest('e') } },
    { backend: 'wasm' },
    { backend: null },
  ];
  const keys = new Set(changes.map((change) => actionKey({ ...components, ...change })));
  assert.is(keys.size, changes.length);
  assert.not.ok(keys.has(actionKey(components)));
});

test('different parameters have different keys; equal ones the same in any order', () => {
  const keyOf = (params: unknown): string =>
    actionKey({ ...components, params: { params } as never });
  fc.assert(
    fc.property(
      fc.jsonValue(),
      fc.jsonValue(),
      (a, b) => (canonical(a) === canonical(b)) === (keyOf(a) === keyOf(b)),
    ),
  );
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.jsonValue()),
      (record) => keyOf(record) === keyOf(Object.fromEntries(Object.entries(record).reverse())),
    ),
  );
});

test('a value that is not JSON is refused', () => {
  assert.throws(() => canonical(Number.NaN));
  assert.throws(() => canonical({ a: Number.POSITIVE_INFINITY }));
  assert.throws(() => canonical(undefined));
});

test('canonical JSON is what the library makes of it, for plain data and the rest', () => {
  fc.assert(
    fc.property(
      fc.anything({
        withDate: true,
        withNullPrototype: true,
        maxDepth: 4,
        key: fc.string({ unit: 'binary', maxLength: 3 }),
      }),
      (value) => {
        const attempt = (make: () => unknown): unknown => {
          try {
            return make();
          } catch {
            return 'thrown';
          }
        };
        const expected = attempt(() => canonicalize(value));
        assert.is(
          attempt(() => canonical(value)),
          expected ?? 'thrown',
        );
      },
    ),
    { numRuns: 2000 },
  );
  for (const value of [
    NaN,
    Infinity,
    [1, undefined],
    { a: undefined, b: 1 },
    { a: [new Date(0)] },
    '\ud800',
    -0,
    1e21,
    5e-324,
  ]) {
    const attempt = (make: () => unknown): unknown => {
      try {
        return make();
      } catch {
        return 'thrown';
      }
    };
    assert.is(
      attempt(() => canonical(value)),
      attempt(() => canonicalize(value)),
    );
  }
});

test.run();
