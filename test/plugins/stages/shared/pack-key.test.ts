/** Which trainings the scheduler may put into one pack, by the parameters of their stages. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { packKey } from '../../../../plugins/stages/train/pack-key.ts';
import type { JsonObject } from '../../../../src/api.ts';

const keyOf = (adapter: JsonObject, more: JsonObject = {}): string | null =>
  packKey(
    {
      architecture: 'bert',
      adapter,
      seed: 1,
      head: { type: 'classifier' },
      train: {
        steps: 3,
        dropout: 0,
        optimizer: 'adamw',
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        ...more,
      },
    },
    'model',
  );

test('every form of LoRA that draws nothing has one key', () => {
  const plain = keyOf({ type: 'lora', rank: 4 });
  assert.is.not(plain, null);
  for (const adapter of [
    { type: 'lora', rank: 8, use_dora: true },
    { type: 'lora', rank: 2, init: { distribution: 'pissa' } },
    { type: 'lora', rank: 2, lora_plus_ratio: 16 },
  ])
    assert.is(keyOf(adapter), plain, JSON.stringify(adapter));
  for (const adapter of [
    { type: 'lora', rank: 4, use_dora: true, dropout: 0.1 },
    { type: 'lora', rank: 4, bias: 'all' },
    { type: 'lora', rank: 4, freeze_a: true },
    { type: 'full' },
  ])
    assert.is(keyOf(adapter), null, JSON.stringify(adapter));
});

test('trainings of unlike precision have unlike keys', () => {
  const plain = { type: 'lora', rank: 4 };
  const bf16 = keyOf(plain, { precision: 'bf16' });
  assert.is.not(bf16, null);
  assert.is.not(bf16, keyOf(plain));
  assert.is(bf16, keyOf({ type: 'lora', rank: 8 }, { precision: 'bf16' }));
});

test('trainings under VeRA have one key where they share its factors', () => {
  const one = keyOf({ type: 'vera', rank: 8, projection_prng_key: 0, targets: 'all-linear' });
  assert.ok(one !== null && one !== keyOf({ type: 'lora', rank: 8 }));
  assert.is(
    keyOf({
      type: 'vera',
      rank: 8,
      projection_prng_key: 0,
      targets: 'all-linear',
      d_initial: 0.5,
      save_projection: false,
    }),
    one,
  );
  for (const adapter of [
    { type: 'vera', rank: 4, projection_prng_key: 0, targets: 'all-linear' },
    { type: 'vera', rank: 8, projection_prng_key: 1, targets: 'all-linear' },
    { type: 'vera', rank: 8, projection_prng_key: 0, targets: ['query'] },
  ])
    assert.is.not(keyOf(adapter), one, JSON.stringify(adapter));
  assert.is(keyOf({ type: 'vera', rank: 8, bias: 'all' }), null);
});

test.run();
