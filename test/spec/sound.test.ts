/**
 * The quick check of a spec against ajv: it accepts nothing that ajv does not accept, and it knows
 * every keyword of the composed schema.
 */
import { Ajv } from 'ajv';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../src/api.ts';
import { specRegistry } from '../../src/run/prepare.ts';
import { loadRegistry } from '../../src/run/registry/registry.ts';
import { isSound } from '../../src/spec/check.ts';
import { composeFrom } from '../../src/spec/compose.ts';
import { makeShapes } from '../../src/spec/schema.ts';
import { asSchema } from '../../src/spec/shape.ts';
import type { PluginShape } from '../../src/spec/types.ts';

const test = suite('sound');

const leaf = fc.oneof(
  fc.constantFrom<unknown>(null, true, false, '', 'a', 'ab', 'ß😀', 0, 1, 2, -1, 0.5, 3.0),
  fc.integer({ min: -2, max: 4 }),
  fc.string({ maxLength: 3 }),
);
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    leaf,
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom('a', 'b', 'c'), tie('value'), {
      maxKeys: 3,
      noNullPrototype: true,
    }),
  ),
}));
const names = fc.uniqueArray(fc.constantFrom('a', 'b', 'c'), { maxLength: 2 });
const types = fc.constantFrom('null', 'boolean', 'number', 'integer', 'string', 'array', 'object');
const { schema } = fc.letrec<{ schema: Record<string, unknown> }>((tie) => {
  const inner = tie('schema');
  const fields = fc.dictionary(fc.constantFrom('a', 'b', 'c'), inner, {
    maxKeys: 2,
    noNullPrototype: true,
  });
  const full = fc.record({
    type: fc.oneof(types, fc.uniqueArray(types, { minLength: 1, maxLength: 2 })),
    const: leaf,
    enum: fc.uniqueArray(leaf, { minLength: 1, maxLength: 3 }),
    minimum: fc.integer({ min: -1, max: 2 }),
    maximum: fc.integer({ min: 0, max: 3 }),
    exclusiveMinimum: fc.integer({ min: -1, max: 1 }),
    exclusiveMaximum: fc.integer({ min: 0, max: 3 }),
    pattern: fc.constantFrom('^a', 'b$', '.', '^$'),
    minLength: fc.nat(2),
    minItems: fc.nat(2),
    maxItems: fc.nat(2),
    uniqueItems: fc.boolean(),
    items: fc.oneof(inner, fc.array(inner, { minLength: 1, maxLength: 2 })),
    required: names,
    properties: fields,
    additionalProperties: fc.oneof(fc.boolean(), inner),
    propertyNames: fc.record({ enum: fc.constant(['a', 'b']) }),
    anyOf: fc.array(inner, { minLength: 1, maxLength: 2 }),
    oneOf: fc.array(inner, { minLength: 1, maxLength: 2 }),
    allOf: fc.array(inner, { minLength: 1, maxLength: 2 }),
    not: inner,
    if: inner,
    then: inner,
    else: inner,
  });
  // Only a few keywords at a time: no value would satisfy all of them, and ajv would compile
  // slowly.
  const some = fc.tuple(full, fc.nat(), fc.integer({ min: 1, max: 3 })).map(([all, from, n]) => {
    const keys = Object.keys(all);
    return Object.fromEntries(
      Array.from({ length: n }, (_, i) => keys[(from + i * 7) % keys.length] ?? 'type').map(
        (key) => [key, all[key as keyof typeof all]],
      ),
    );
  });
  return { schema: fc.oneof({ maxDepth: 2 }, fc.record({ type: types }), some) };
});

test("the verdict is ajv's for random schemas and values", () => {
  let sound = 0;
  fc.assert(
    fc.property(schema, fc.array(value, { minLength: 1, maxLength: 8 }), (of, values) => {
      const check = new Ajv({
        strict: false,
        validateFormats: false,
        validateSchema: false,
        code: { optimize: false },
      }).compile(of);
      for (const one of values) {
        if (isSound(of, one)) sound++;
        assert.is(isSound(of, one), check(one), JSON.stringify([of, one]));
      }
    }),
    { numRuns: 500 },
  );
  assert.ok(sound > 200, `only ${sound} of the values were sound`);
});

test('an unknown keyword or reference is never sound', () => {
  assert.ok(isSound({ type: 'string' }, 'a'));
  assert.not(isSound({ type: 'string', contentEncoding: 'base64' }, 'a'));
  assert.not(isSound({ not: { dependencies: {} } }, 'a'));
  assert.not(isSound({ $ref: '#/definitions/none' }, 'a'));
  assert.ok(
    isSound({ $ref: '#/definitions/text', definitions: { text: { type: 'string' } } }, 'a'),
  );
});

/** A variant for each plugin without required parameters, with its defaults written out. */
const variants = (plugins: readonly PluginShape[], discriminator: string): JsonObject[] =>
  plugins.flatMap(({ name, params }) => {
    const { required = [], properties = {} } = asSchema(params);
    if (required.length > 0) return [];
    const presets = Object.entries(properties).flatMap(([key, { default: preset }]) =>
      preset === undefined || preset === null ? [] : [[key, preset] as const],
    );
    return [{ [discriminator]: name, ...Object.fromEntries(presets) }];
  });

test("the verdict is ajv's for a spec with every built-in attack and adapter", async () => {
  const registry = specRegistry(await loadRegistry());
  const whole = composeFrom(makeShapes(registry));
  const spec = {
    name: 'all',
    model: { source: 'pypi:model' },
    data: { train: { source: 'npm:rows' }, validation: { source: 'npm:rows' } },
    poisoning: variants(registry.attacks, 'attack'),
    adapter: variants(registry.adapters, 'type'),
  };
  const check = new Ajv({
    strict: false,
    validateFormats: false,
    inlineRefs: false,
    code: { optimize: false },
  }).compile(whole);
  assert.is(isSound(whole, spec), check(spec), JSON.stringify(check.errors));
  const plain = {
    ...spec,
    poisoning: [{ attack: 'none' }],
    adapter: [{ type: 'lora', rank: [4, 8] }, { type: 'full' }],
  };
  assert.ok(isSound(whole, plain));
  assert.not(isSound(whole, { ...plain, nmae: 1 }));
});

test.run();
