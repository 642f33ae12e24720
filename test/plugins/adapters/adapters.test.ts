import { Ajv } from 'ajv';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import bitfit from '../../../plugins/adapters/bitfit.ts';
import full from '../../../plugins/adapters/full.ts';
import headOnly from '../../../plugins/adapters/head-only.ts';
import lora from '../../../plugins/adapters/lora.ts';
import bert from '../../../plugins/models/bert.ts';

const accepts = (plugin: { params: object }) =>
  new Ajv({ allErrors: true, strict: false, formats: { path: true } }).compile(plugin.params);

test("LoRA's parameters", () => {
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

test('every parameter is described', () => {
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

test('a head that is pretrained leaves nothing to probe', async () => {
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
    [problem!.path, problem!.message],
    [['adapter', 'type'], 'head-only has nothing to train: the cloze head is pretrained'],
  );
});

test('plugins load their implementations', async () => {
  assert.is((await bert.load()).modelType, 'bert');
  for (const plugin of [lora, full, headOnly, bitfit])
    assert.type((await plugin.load()).create, 'function');
});

test.run();
