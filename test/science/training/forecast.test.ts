/** What a training takes, of Llama 3.2 1B's sizes and of the tiny BERT's, by hand. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import { full } from '../../../src/science/models/fine-tuning.ts';
import { readConfig } from '../../../src/science/models/head.ts';
import {
  savedBytes,
  stepOperations,
  torchMemoryMB,
  weightBytes,
} from '../../../src/science/training/forecast.ts';
import { openCase } from '../family-cases.ts';

const test = suite('forecast of a training');

/** h 16, 4 heads of 4, 2 of keys, 23 wide, 2 layers, 67 tokens; no biases. */
const opened = async (adapter: 'full' | 'lora') => {
  const { architecture, checkpoint } = await openCase('llama-causal');
  const config = architecture.parseConfig(await readConfig(checkpoint), 0);
  const shape = {
    architecture,
    linears: architecture.linears(config),
    parameters: architecture.parameters(config),
  };
  const own = adapter === 'full' ? full : lora;
  const params = adapter === 'full' ? {} : { rank: 2, alpha: 4, targets: ['q_proj', 'v_proj'] };
  return { shape, adapter: await own.create(params, shape) };
};
const LAYER = 2 * 16 * 16 + 2 * 8 * 16 + 3 * 23 * 16,
  MODEL = 2 * (LAYER + 2 * 16) + 16 + 2 * 67 * 16,
  LORA = 2 * 2 * (16 + 16 + 16 + 8);

test('memory: every weight, what training keeps of a trained one, and copies of frozen ones', async () => {
  const frozen = 2 * LAYER + 67 * 16;
  assert.is(weightBytes(await opened('lora'), 'adamw'), 4 * (MODEL + 5 * LORA + 2 * frozen));
  assert.is(weightBytes(await opened('full'), 'adamw'), 4 * 5 * MODEL);
  assert.is(weightBytes(await opened('full'), 'sgd'), 4 * 3 * MODEL);
});

test('memory of PyTorch: weights, gradients, moments, activations and Python', async () => {
  const sizes = { width: 16, wide: 23, layers: 2 };
  const step = { optimizer: 'adamw', rows: 300, length: 500, vocabulary: 67 } as const;
  const mb = (floats: number): number => Math.ceil(350 + (4 * floats) / 2 ** 20);
  const token = 12 * 16 + 4 * 23,
    tokens = 300 * 500;
  const lines = await opened('lora'),
    whole = await opened('full');
  assert.is(torchMemoryMB(whole, sizes, step), mb(4 * MODEL + tokens * (2 * token + 4 * 67)));
  assert.is(
    torchMemoryMB(lines, sizes, { ...step, checkpointing: true, frozenBytes: 0.5 }),
    mb(MODEL / 8 + 4 * LORA + tokens * (2 * 16 + token + 4 * 67)),
  );
  const inLinears = 2 * LAYER;
  assert.is(
    torchMemoryMB(lines, sizes, { ...step, frozenBytes: 2, linearBytes: 0.5 }),
    mb((MODEL - inLinears) / 2 + inLinears / 8 + 4 * LORA + tokens * (2 * token + 4 * 67)),
  );
});

test('memory of PyTorch on several devices: rows are shared, and parameters under FSDP', async () => {
  const sizes = { width: 16, wide: 23, layers: 2 };
  const step = { optimizer: 'adamw', rows: 301, length: 500, vocabulary: 67 } as const;
  const whole = await opened('full');
  const tokens = 151 * 500 * (2 * (12 * 16 + 4 * 23) + 4 * 67);
  const mb = (floats: number): number => Math.ceil(350 + (4 * floats) / 2 ** 20);
  const on = { ...step, devices: 2 };
  assert.is(torchMemoryMB(whole, sizes, on), mb(4 * MODEL + tokens));
  // A layer, and what is in none, are whole, with their gradients.
  const gathered = LAYER + 2 * 16 + (16 + 2 * 67 * 16);
  assert.is(
    torchMemoryMB(whole, sizes, { ...on, fsdp: true }),
    mb(2 * MODEL + 2 * gathered + tokens),
  );
});

test('files: the whole model under full fine-tuning, and the factors of LoRA', async () => {
  assert.is(savedBytes(await opened('full')), 4 * MODEL);
  assert.is(savedBytes(await opened('lora')), 4 * LORA);
});

test('operations: two passes over every layer, three where its weight is trained', async () => {
  const sizes = { width: 16, layers: 2 },
    step = { rows: 3, length: 5, vocabulary: 67 };
  const lines = await opened('lora'),
    whole = await opened('full');
  const attention = 4 * 5 * 16 * 2; // forward; backward twice that
  const output = 67 * 16, // a layer of its own
    linears = 2 * LAYER + output;
  assert.is(stepOperations(lines, sizes, step), 15 * (4 * linears + 3 * attention));
  assert.is(stepOperations(whole, sizes, step), 15 * (6 * linears + 3 * attention));
  const again = 15 * (2 * 2 * LAYER + attention);
  for (const own of [lines, whole])
    assert.is(
      stepOperations(own, sizes, { ...step, checkpointing: true }),
      stepOperations(own, sizes, step) + again,
    );
  for (const own of [lines, whole]) {
    const tied = own.shape.linears.filter(({ out }) => out !== 67);
    assert.is(tied.length, own.shape.linears.length - 1);
    assert.is(
      stepOperations({ ...own, shape: { ...own.shape, linears: tied } }, sizes, step),
      stepOperations(own, sizes, step),
      'an output that is tied to the token table',
    );
  }
});

test.run();
