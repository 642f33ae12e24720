import { Ajv } from 'ajv';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import bitfit from '../../../plugins/adapters/bitfit.ts';
import full from '../../../plugins/adapters/full.ts';
import headOnly from '../../../plugins/adapters/head-only.ts';
import lora from '../../../plugins/adapters/lora/index.ts';
import { initialVariance, presets } from '../../../plugins/adapters/lora/init.ts';
import bert from '../../../plugins/models/bert.ts';
import type { JsonObject } from '../../../src/api.ts';
import { present } from '../../rig/present.ts';

type Init = Parameters<typeof initialVariance>[0];

const accepts = (plugin: { params: object }) =>
  new Ajv({ allErrors: true, strict: false, formats: { path: true } }).compile(plugin.params);

test("LoRA's parameters are checked and have their defaults", () => {
  const valid = accepts(lora);
  for (const good of [
    {},
    {
      rank: 4,
      alpha: 16,
      targets: 'all-linear',
      init: { distribution: 'uniform', variance: '1/d' },
    },
    { alpha: 'r', targets: ['query', 'value'], rslora: true },
    ...['2r', '0.5r', '.5r', 'r/2', '3r/2', '1.5r/4'].map((alpha) => ({ alpha })),
    { init: { distribution: 'xavier' } },
    { init: { variance: 0.001 } },
    { init_from: './adapter' },
    {
      targets: '.*(query|value)',
      exclude: ['pooler.dense'],
      layers: [0, 2],
      dropout: 0.1,
      bias: 'lora_only',
      freeze_a: true,
    },
    { rank_pattern: { query: 4 }, alpha_pattern: { '[kq].*': 2.5 } },
  ])
    assert.ok(valid(good), JSON.stringify([good, valid.errors]));
  for (const bad of [
    { rank: 0 },
    { rank: 2.5 },
    { alpha: 0 },
    ...['rank', '', '2', 'r2', '0r', '0.0r', '-r', 'r/0', 'r/', '2*r', '2 r'].map((alpha) => ({
      alpha,
    })),
    { targets: [] },
    { targets: '' },
    { rank_pattern: { query: 0 } },
    { alpha_pattern: { query: '8' } },
    { layers: [-1] },
    { dropout: 1 },
    { bias: true },
    { init: { distribution: 'orthogonal' } },
    { init: { sigma: 1 } },
    { r: 8 },
  ])
    assert.not.ok(valid(bad), JSON.stringify(bad));
});

test('every parameter has a description', () => {
  interface Described {
    readonly description?: string;
    readonly properties?: Record<string, Described>;
  }
  const walk = (schema: Described): void =>
    Object.entries(schema.properties ?? {}).forEach(([name, field]) => {
      assert.type(field.description, 'string', name);
      walk(field);
    });
  for (const { params } of [lora, full, headOnly, bitfit]) walk(params);
});

test('full fine-tuning, linear probing and BitFit have no parameters', () => {
  for (const plugin of [full, headOnly, bitfit]) {
    assert.ok(accepts(plugin)({}));
    assert.not.ok(accepts(plugin)({ rank: 4 }));
  }
});

test('linear probing is refused where the head is pretrained', async () => {
  const model = await bert.load(),
    implementation = await headOnly.load();
  assert.equal(
    await implementation.check({}, { architecture: model, linears: [], parameters: [] }),
    [],
  );
  const [problem] = await implementation.check(
    {},
    {
      architecture: model.withHead({ type: 'cloze', tokens: [1, 2] }),
      linears: [],
      parameters: [],
    },
  );
  assert.equal(
    [present(problem).path, present(problem).message],
    [['adapter', 'type'], 'head-only has nothing to train: the cloze head is pretrained'],
  );
});

test('adapters load their implementations', async () => {
  assert.is((await bert.load()).modelType, 'bert');
  for (const plugin of [lora, full, headOnly, bitfit]) assert.ok('create' in (await plugin.load()));
});

test('LoRA adapters with the same canonical form draw the same A to the last bit', () => {
  const form = (params: JsonObject): string => JSON.stringify(lora.canonical!(params));
  const adapter = (more: JsonObject): JsonObject => ({ rank: 16, alpha: 'r', init: {}, ...more });
  const groups: readonly (readonly JsonObject[])[] = [
    [
      adapter({}),
      adapter({ alpha: 16 }),
      adapter({ init: { distribution: 'kaiming-uniform' } }),
      adapter({ init: { distribution: 'uniform' } }),
      adapter({ init: { variance: '1/(3d)' } }),
      adapter({ init: { distribution: 'xavier', variance: ' 1 / ( 3 * d ) ' } }),
    ],
    [adapter({ rank: 8 }), adapter({ rank: 8, alpha: 8 })],
    [adapter({ rank: 8, alpha: 16 }), adapter({ rank: 8, alpha: '2r' })],
    [
      adapter({ init: { distribution: 'normal', variance: 0.01 } }),
      adapter({ init: { distribution: 'gaussian', variance: '0.01' } }),
    ],
    [adapter({ init: { distribution: 'gaussian' } })],
    [adapter({ init: { distribution: 'xavier' } })],
    [
      adapter({ init: { distribution: 'uniform', variance: '2/d' } }),
      adapter({ init: { distribution: 'xavier', variance: '2/(1d)' } }),
      adapter({ init: { variance: '3.0/(1.5d)' } }),
    ],
    [
      adapter({ init: { variance: '0.3/d' } }),
      adapter({ init: { variance: '3/(10d)' } }),
      adapter({ init: { variance: '0.06/(0.20d)' } }),
    ],
    [adapter({ init: { distribution: 'normal' } })],
    [adapter({ rslora: true }), adapter({ rslora: true, alpha: 16 })],
    // With a rank pattern, α defaults to the rank of each layer, so stating a number is a different
    // spec.
    [adapter({ rank_pattern: { query: 4 } })],
    [adapter({ rank_pattern: { query: 4 }, alpha: 16 })],
    [{ init: {}, init_from: './adapter' }],
  ];
  assert.equal(
    groups.map((group) => new Set(group.map(form)).size),
    groups.map(() => 1),
  );
  assert.is(new Set(groups.map(([first]) => form(present(first)))).size, groups.length);
  for (const params of groups.flat()) {
    const { init, ...rest } = lora.canonical!(params);
    assert.equal(
      lora.canonical!({ init: present(init), ...rest }),
      { init, ...rest },
      'it is its own form',
    );
    const asWritten = { distribution: 'kaiming-uniform', ...(params['init'] as object) } as Init,
      asFormed = { distribution: 'kaiming-uniform', ...(init as object) } as Init;
    for (const [n, r] of [
      [7, 3],
      [768, 16],
      [1000, 4],
    ] as const)
      assert.is(initialVariance(asFormed, n, r), initialVariance(asWritten, n, r));
    assert.is(presets[asFormed.distribution].shape, presets[asWritten.distribution].shape);
  }
  for (const broken of ['1/(3dd)', '', 'big', '0/(0d)'])
    assert.is(
      (lora.canonical!(adapter({ init: { variance: broken } }))['init'] as JsonObject)['variance'],
      broken,
      'left for its check to tell',
    );
});

test.run();
