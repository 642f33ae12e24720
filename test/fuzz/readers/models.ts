/** Files of checkpoints and adapters. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseJson } from '../../../src/base/untrusted/json.ts';
import { openCheckpoint } from '../../../src/science/models/io/checkpoint.ts';
import { readNpy } from '../../../src/science/models/io/npy.ts';
import { isAdapted, readPeftConfig } from '../../../src/science/models/io/peft-config.ts';
import { readSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { bert } from '../../science/families.ts';
import { asText, bytesOf, file, golden, json, type Reader, texts } from '../reader.ts';

const tinyConfig = golden('tiny-bert/checkpoint/config.json');

function npyBytes(header: string, data: number): Uint8Array {
  const head = Buffer.from(header.padEnd(118) + '\n', 'latin1');
  return Buffer.concat([
    Buffer.from([0x93, 78, 85, 77, 80, 89, 1, 0, head.length, 0]),
    head,
    Buffer.alloc(data),
  ]);
}

/** Returns a header's text, preceded by its length and followed by some data. */
function safetensorsOf(header: Uint8Array): Uint8Array {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, Buffer.alloc(64)]);
}

const checkpoint = (dir: string): void => {
  writeFileSync(join(dir, 'config.json'), tinyConfig);
  writeFileSync(
    join(dir, 'a.safetensors'),
    safetensorsOf(bytesOf(json({ w: { dtype: 'F32', shape: [4], data_offsets: [0, 16] } }))),
  );
};

export const MODELS: readonly Reader[] = [
  {
    name: 'safetensors',
    seeds: [
      golden('tiny-bert/adapter/adapter_model.safetensors').subarray(0, 6000),
      safetensorsOf(
        texts(
          json({
            a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] },
            b: { dtype: 'BF16', shape: [4], data_offsets: [16, 24] },
          }),
        )[0]!,
      ),
    ],
    read: (input, dir) => readSafetensors(file(dir, 'a.safetensors', input)),
  },
  {
    name: 'safetensors header',
    seeds: texts(
      json({
        __metadata__: { format: 'pt' },
        a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] },
        b: { dtype: 'I64', shape: [2], data_offsets: [16, 32] },
        c: { dtype: 'F16', shape: [], data_offsets: [32, 34] },
      }),
    ),
    read: (input, dir) => readSafetensors(file(dir, 'a.safetensors', safetensorsOf(input))),
  },
  {
    name: 'npy',
    seeds: [
      npyBytes("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24),
      npyBytes("{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }", 24),
    ],
    read: (input, dir) => readNpy(file(dir, 'a.npy', input)),
  },
  {
    name: 'config.json',
    seeds: [
      tinyConfig,
      ...texts(
        json({
          model_type: 'bert',
          vocab_size: 9,
          hidden_size: 8,
          num_attention_heads: 2,
          num_hidden_layers: 2,
          intermediate_size: 16,
          max_position_embeddings: 12,
          pad_token_id: 0,
          hidden_act: 'gelu',
        }),
      ),
    ],
    read: (input) => bert.parseConfig(parseJson(asText(input), 'config.json'), 2),
  },
  {
    name: 'adapter_config.json',
    seeds: [
      golden('tiny-bert/adapter/adapter_config.json').subarray(0, 65_536),
      ...texts(
        json({
          peft_type: 'LORA',
          r: 4,
          lora_alpha: 8,
          target_modules: '.*(query|value)',
          rank_pattern: { 'layer.0': 2 },
          layers_to_transform: [0],
          layers_pattern: ['layer'],
          bias: 'none',
        }),
      ),
    ],
    read: async (input, dir) => {
      file(dir, 'adapter_config.json', input);
      isAdapted(await readPeftConfig(dir), 'bert.encoder.layer.0.attention.self.query', true);
    },
  },
  {
    name: 'weights index',
    seeds: texts(json({ metadata: { total_size: 16 }, weight_map: { w: 'a.safetensors' } })),
    read: (input, dir) => (
      checkpoint(dir),
      file(dir, 'model.safetensors.index.json', input),
      openCheckpoint(dir)
    ),
  },
];
