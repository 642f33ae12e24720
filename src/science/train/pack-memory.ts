/** What one more training adds to a pack. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonObject } from '../../api.ts';
import { largestBatch } from './batches.ts';

/**
 * Megabytes that one training adds to a pack if all of its rows are as long as they may be: what the backward pass needs
 * of every token (some 12 h + 3 m floats a layer) and of every pair of tokens (3 a head and layer). Infinite where
 * config.json has other names for its sizes: such a model is not packed.
 * @param set how many rows are trained on, clean and appended by an attack, which make batches larger; left out: not known yet
 */
export async function packMemoryMB(
  params: JsonObject,
  modelDir: string,
  set?: { readonly rows: number; readonly appended: number },
): Promise<number> {
  const { batch_size: batchSize, max_length: length } = params['train'] as {
    readonly batch_size: number;
    readonly max_length: number;
  };
  const rows =
    set === undefined || set.appended === 0
      ? batchSize
      : largestBatch({
          rows: set.rows,
          batchSize,
          appended: [{ attack: '', rows: set.appended }],
        });
  const config = JSON.parse(await readFile(join(modelDir, 'config.json'), 'utf8')) as {
    readonly [field: string]: unknown;
  };
  const [h, m, layers, heads] = [
    'hidden_size',
    'intermediate_size',
    'num_hidden_layers',
    'num_attention_heads',
  ].map((field) => (typeof config[field] === 'number' ? config[field] : Infinity)) as [
    number,
    number,
    number,
    number,
  ];
  return Math.ceil((4 * layers * rows * length * (12 * h + 3 * m + 3 * heads * length)) / 2 ** 20);
}
