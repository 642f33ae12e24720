/**
 * The tiny random masked LM of test/golden/tiny-mlm, and the reference values of PyTorch + PEFT for
 * a cloze prompt.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import { readConfig } from '../../src/science/models/head.ts';
import { type Network, openNetwork } from '../../src/science/models/network.ts';
import type { LabelledRow } from '../../src/science/training/loop.ts';
import { bert } from './families.ts';

export const mlmFolder = fileURLToPath(new URL('../golden/tiny-mlm/', import.meta.url));
export const mlmCheckpoint = `${mlmFolder}checkpoint`;
export const mlmAdapter = `${mlmFolder}adapter`;

interface Run {
  readonly logits: number[][];
  readonly learning_rate: number;
  readonly losses: number[];
}
interface Golden {
  readonly template: string;
  readonly pair_template: string;
  /** The word of each class. */
  readonly verbalizer: { readonly [name: string]: string };
  readonly tokens: number[];
  readonly steps: number;
  readonly batch_size: number;
  readonly rows: readonly {
    readonly text: string;
    readonly pair: string | null;
    readonly ids: number[];
    readonly mask: number;
    readonly label: number;
  }[];
  readonly full: Run;
  readonly lora: Run;
}
export const mlm = JSON.parse(await readFile(`${mlmFolder}golden.json`, 'utf8')) as Golden;
export const mlmClasses = Object.keys(mlm.verbalizer);
/** 15 rows of 7 to 16 tokens. */
export const mlmRows: readonly LabelledRow[] = mlm.rows.map(({ ids, mask, label }) => ({
  ids: Int32Array.from(ids),
  typeIds: new Int32Array(ids.length),
  mask,
  label,
}));
export const clozeBert = bert.withHead({ type: 'cloze', tokens: mlm.tokens });
const config = clozeBert.parseConfig(await readConfig(mlmCheckpoint), mlmClasses.length);
export const mlmLinears = clozeBert.linears(config);
/** The model as an adapter sees it. */
export const mlmShape = {
  architecture: clozeBert,
  linears: mlmLinears,
  parameters: clozeBert.parameters(config),
};

/** `full`, or LoRA from the golden adapter folder. */
export async function openMlm(kind: 'full' | 'lora', evaluation = false): Promise<Network> {
  return openNetwork({
    architecture: clozeBert,
    model: { path: mlmCheckpoint, digest: 'tiny-mlm' },
    classes: mlmClasses.length,
    seed: 1,
    evaluation,
    adapter:
      kind === 'full'
        ? await full.create({}, mlmShape)
        : await lora.create({}, { ...mlmShape, initFrom: mlmAdapter }),
  });
}
