/** The tiny random BERT of test/golden/tiny-bert, and the reference values of PyTorch + PEFT. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import type { JsonObject } from '../../src/api.ts';
import type { AdapterImplementation } from '../../src/science/models/adapter.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import { readConfig, readHead } from '../../src/science/models/head.ts';
import { type Network, openNetwork } from '../../src/science/models/network.ts';
import type { LabelledRow } from '../../src/science/training/loop.ts';
import { present } from '../rig/present.ts';
import { bert } from './families.ts';

export const golden = fileURLToPath(new URL('../golden/tiny-bert/', import.meta.url));
export const checkpoint = `${golden}checkpoint`;
export const adapterFolder = `${golden}adapter`;
export const classes = 3;
const config = bert.parseConfig(await readConfig(checkpoint), classes);
export const linears = bert.linears(config);
/** The model as an adapter sees it. */
export const shape = { architecture: bert, linears, parameters: bert.parameters(config) };

interface Forward {
  readonly rows: readonly {
    readonly ids: number[];
    readonly typeIds: number[];
    readonly label: number;
  }[];
  readonly logits: number[][];
  readonly adapter_logits: number[][];
}
export const forward = JSON.parse(await readFile(`${golden}forward.json`, 'utf8')) as Forward;
/** 23 rows of 3 to 29 tokens, some of them pairs. */
export const rows: readonly LabelledRow[] = forward.rows.map(({ ids, typeIds, label }) => ({
  ids: Int32Array.from(ids),
  typeIds: Int32Array.from(typeIds),
  label,
}));

/** The tiny BERT with an adapter as it is drawn. */
export const openAdapted = async (
  implementation: AdapterImplementation,
  params: JsonObject = {},
  seed = 1,
): Promise<Network> =>
  openNetwork({
    architecture: bert,
    model: { path: checkpoint, digest: 'tiny-bert' },
    classes,
    seed,
    adapter: await implementation.create(params, shape),
  });

/** `full`, or LoRA from the golden adapter folder (A, B and head given). */
export async function openTiny(kind: 'full' | 'lora', evaluation = false): Promise<Network> {
  const model = { path: checkpoint, digest: 'tiny-bert' };
  if (kind === 'full')
    return openNetwork({
      architecture: bert,
      model,
      adapter: await full.create({}, shape),
      classes,
      seed: 1,
      evaluation,
    });
  return openNetwork({
    architecture: bert,
    model,
    classes,
    seed: 1,
    evaluation,
    adapter: await lora.create({}, { ...shape, initFrom: adapterFolder }),
    head: await readHead(adapterFolder, { architecture: bert, config, classes }),
  });
}

/** Returns the largest absolute difference; Infinity where a value of `a` is not finite. */
export const farthest = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  if (a.length !== b.length) throw new Error(`${a.length} values against ${b.length}`);
  let worst = 0;
  for (let i = 0; i < a.length; i++)
    worst = Math.max(worst, Math.abs(present(a[i]) - present(b[i])));
  return Array.from(a).every(Number.isFinite) ? worst : Infinity;
};

export const logitsOf = (network: Network, some: readonly LabelledRow[]): Float32Array =>
  tf.tidy(() => network.forward(some).dataSync() as Float32Array);
