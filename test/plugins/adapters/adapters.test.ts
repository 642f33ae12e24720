import { Ajv } from 'ajv';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import full from '../../../plugins/adapters/full.ts';
import lora from '../../../plugins/adapters/lora.ts';
import bert from '../../../plugins/models/bert.ts';

const accepts = (plugin: { params: object }) => new Ajv({ allErrors: true, strict: false, formats: { path: true } }).compile(plugin.params);

test('LoRA\'s parameters', () => {
  const valid = accepts(lora);
  for (const good of [
    {}, { rank: 4, alpha: 16, targets: 'all-linear', init: { distribution: 'uniform', variance: '1/d' } }, { alpha: 'r', targets: ['query', 'value'], rslora: true },
    { init: { distribution: 'xavier' } }, { init: { variance: 0.001 } }, { init_from: './adapter' },
    { targets: '.*(query|value)', exclude: ['pooler.dense'], layers: [0, 2], dropout: 0.1, bias: 'lora_only', freeze_a: true }, { rank_pattern: { query: 4 }, alpha_pattern: { '[kq].*': 2.5 } },
  ]) assert.ok(valid(good), JSON.stringify([good, valid.errors]));
  for (const bad of [
    { rank: 0 }, { rank: 2.5 }, { alpha: 0 }, { alpha: 'rank' }, { targets: [] }, { targets: '' }, { rank_pattern: { query: 0 } }, { alpha_pattern: { query: '8' } }, { layers: [-1] }, { dropout: 1 }, { bias: true }, { init: { distribution: 'orthogonal' } }, { init: { sigma: 1 } }, { r: 8 },
  ]) assert.not.ok(valid(bad), JSON.stringify(bad));
});

test('every parameter is described', () => {
  interface Described { readonly description?: string; readonly properties?: Record<string, Described> }
  const walk = (schema: Described): void => Object.entries(schema.properties ?? {}).forEach(([name, field]) => {
    assert.type(field.description, 'string', name);
    walk(field);
  });
  for (const { params } of [lora, full]) walk(params);
});

test('full fine-tuning has no parameters', () => {
  assert.ok(accepts(full)({}));
  assert.not.ok(accepts(full)({ rank: 4 }));
});

test('plugins load their implementations', async () => {
  assert.is((await bert.load()).modelType, 'bert');
  for (const plugin of [lora, full]) assert.type((await plugin.load()).create, 'function');
});

test.run();
