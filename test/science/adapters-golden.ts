/** What PyTorch + PEFT make of the adapters of test/golden/adapters.py on the tiny BERT. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { vera } from '../../plugins/adapters/vera/vera.ts';
import type { JsonObject } from '../../src/api.ts';
import type { AdapterImplementation } from '../../src/science/models/adapter.ts';
import { readConfig, readHead } from '../../src/science/models/head.ts';
import { readNpy } from '../../src/science/models/io/npy.ts';
import { type Network, openNetwork } from '../../src/science/models/network.ts';
import { bert } from './families.ts';
import { checkpoint, classes, rows, shape } from './tiny-bert.ts';

const golden = fileURLToPath(new URL('../golden/adapters/', import.meta.url));

interface Variant {
  readonly rate: number;
  readonly layers: readonly string[];
  readonly logits: number[][];
  readonly losses: readonly number[];
  readonly end_logits: number[][];
  readonly merged_logits: number[][];
  /** By PEFT's name; null where training starts from random values. */
  readonly start: Readonly<Record<string, number[] | number[][]>> | null;
}
const file = JSON.parse(await readFile(`${golden}golden.json`, 'utf8')) as {
  readonly steps: number;
  readonly batch_size: number;
  readonly kernel_rows: number;
  readonly ratio: number;
  readonly variants: Readonly<Record<string, Variant>>;
};
export const { steps, batch_size: batchSize, ratio } = file;
export const kernelRows = rows.slice(0, file.kernel_rows);

/** Each variant with its parameters as a spec states them, null where it starts from a folder. */
export const SPECS: Readonly<
  Record<
    string,
    { readonly implementation: AdapterImplementation; readonly params: JsonObject | null }
  >
> = {
  dora: { implementation: lora, params: null },
  pissa: {
    implementation: lora,
    params: { rank: 4, alpha: 6, init: { distribution: 'pissa' } },
  },
  olora: {
    implementation: lora,
    params: {
      rank: 3,
      alpha: 6,
      rslora: true,
      targets: ['query', 'value', 'output.dense'],
      init: { distribution: 'olora' },
    },
  },
  'dora-pissa': {
    implementation: lora,
    params: {
      rank: 3,
      alpha: 3,
      use_dora: true,
      targets: ['query', 'dense'],
      init: { distribution: 'pissa' },
    },
  },
  vera: {
    implementation: vera,
    params: { rank: 7, projection_prng_key: 11, d_initial: 0.2 },
  },
  'vera-drawn': { implementation: vera, params: null },
  'lora-plus': {
    implementation: lora,
    params: { rank: 4, alpha: 6, lora_plus_ratio: ratio, init: { distribution: 'olora' } },
  },
};

export function variant(name: string): Variant {
  const found = file.variants[name];
  if (found === undefined) throw new Error(`there is no variant ${name}`);
  return found;
}

/** A folder that PEFT saved: the one that training starts from, or ends with. */
export const folder = (name: string, which: 'start' | 'end'): string => `${golden}${name}/${which}`;

export const kernelOf = async (name: string, kind: 'lora' | 'full'): Promise<Float64Array> =>
  (await readNpy(`${golden}${name}/kernel-${kind}.npy`)).data as Float64Array;

const config = bert.parseConfig(await readConfig(checkpoint), classes);

/** Opens a network from a PEFT folder, or from parameters. */
export async function openAdapter(
  implementation: AdapterImplementation,
  from: { readonly folder: string; readonly params?: JsonObject } | { readonly params: JsonObject },
  evaluation = false,
): Promise<Network> {
  const initFrom = 'folder' in from ? { initFrom: from.folder } : {};
  return openNetwork({
    architecture: bert,
    model: { path: checkpoint, digest: 'tiny-bert' },
    adapter: await implementation.create(from.params ?? {}, { ...shape, ...initFrom }),
    classes,
    seed: 1,
    evaluation,
    ...('folder' in from
      ? { head: await readHead(from.folder, { architecture: bert, config, classes }) }
      : {}),
  });
}
