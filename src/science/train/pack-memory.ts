/** How much memory one more training adds to a pack. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonObject } from '../../api.ts';
import { largestBatch } from './batches.ts';

/**
 * The megabytes that one training adds to a pack if all of its rows have the maximum length: what
 * the backward pass keeps for each token (some 12 h + 3 m floats per layer) and for each pair of
 * tokens (3 per head and layer). 0 where nothing is trained. Infinite where config.json does not have
 * these sizes, so that such a model is not packed.
 * @param set number of clean rows and of rows that an attack appends, which enlarge the batches;
 * undefined where unknown
 */
export async function packMemoryMB(
  params: JsonObject,
  modelDir: string,
  set?: { readonly rows: number; readonly appended: number },
): Promise<number> {
  const train = params['train'] as { readonly steps?: number } & {
    readonly batch_size: number;
    readonly max_length: number;
  };
  if (train.steps === 0) return 0; // it has no other settings, see `trainParams`
  const { batch_size: batchSize, max_length: length } = train;
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
  const size = (field: string): number =>
    typeof config[field] === 'number' ? config[field] : Infinity;
  const h = size('hidden_size'),
    m = size('intermediate_size'),
    layers = size('num_hidden_layers'),
    heads = size('num_attention_heads');
  return Math.ceil((4 * layers * rows * length * (12 * h + 3 * m + 3 * heads * length)) / 2 ** 20);
}
