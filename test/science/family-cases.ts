/**
 * The tiny checkpoints of test/golden/families, opened through the plugins of plugins/models, and
 * the reference values of transformers and PEFT. test/golden/families.py documents the format.
 */
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Tensor } from '@tensorflow/tfjs-core';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import type { JsonObject, ModelDescriptor } from '../../src/api.ts';
import type { AdapterImplementation } from '../../src/science/models/adapter.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import { readConfig, readHead } from '../../src/science/models/head.ts';
import {
  type Network,
  type NetworkOptions,
  openNetwork,
} from '../../src/science/models/network.ts';
import { answerTokens } from '../../src/science/models/outputs.ts';
import type { Architecture, Head, ModelShape } from '../../src/science/models/types.ts';
import type { LabelledRow } from '../../src/science/training/loop.ts';

const root = fileURLToPath(new URL('../golden/families/', import.meta.url));
const plugins = fileURLToPath(new URL('../../plugins/models/', import.meta.url));

/** Norm, and Σ_i cos(1 + i)·g_i over the gradient as the checkpoint stores it. */
type Checksum = readonly [norm: number, dot: number];

interface Golden {
  readonly family: string;
  readonly head: 'classifier' | 'cloze' | 'causal-lm';
  readonly rows: readonly {
    readonly ids: number[];
    readonly typeIds?: number[];
    readonly mask?: number;
    readonly answer?: number;
    readonly label?: number;
  }[];
  readonly tokens?: number[];
  readonly reads?: readonly (readonly [row: number, place: number])[];
  readonly logits: number[][];
  readonly loss: number;
  readonly gradients: Readonly<Record<string, Checksum>>;
  readonly training: {
    readonly lr: number;
    readonly steps: number;
    readonly losses: number[];
  };
  readonly generation?: {
    readonly eos: number[];
    readonly max_new_tokens: number;
    readonly prompts: number[][];
    readonly outputs: number[][];
  };
  readonly lora: {
    readonly logits: number[][];
    readonly loss: number;
    readonly gradients: Readonly<Record<string, Checksum>>;
  };
  readonly kernel: {
    readonly rows: number;
    readonly outputs: 'class logits' | 'log p(answer)';
    readonly layers: string[];
    readonly full: number[][];
    readonly lora: number[][];
  };
}

export interface FamilyCase {
  readonly name: string;
  readonly golden: Golden;
  readonly checkpoint: string;
  readonly adapter: string;
  readonly architecture: Architecture;
  readonly classes: number;
  readonly rows: readonly LabelledRow[];
  /** The target of each read: a label, or a token of an answer. */
  readonly targets: readonly number[];
}

/** By the `model_type` of config.json. */
const descriptors = new Map<string, ModelDescriptor<Architecture>>();
for (const file of await readdir(plugins)) {
  const { default: model } = (await import(pathToFileURL(plugins + file).href)) as {
    readonly default: ModelDescriptor<Architecture>;
  };
  for (const type of model.modelTypes ?? []) descriptors.set(type, model);
}

async function architectureOf({ family, head, tokens = [] }: Golden): Promise<Architecture> {
  const descriptor = descriptors.get(family);
  if (descriptor === undefined) throw new Error(`no model plugin reads ${family}`);
  const own: Head = head === 'cloze' ? { type: head, tokens } : { type: head };
  return (await descriptor.load()).withHead(own);
}

export const caseNames: readonly string[] = (await readdir(root)).sort();

export async function openCase(name: string): Promise<FamilyCase> {
  const golden = JSON.parse(await readFile(`${root}${name}/golden.json`, 'utf8')) as Golden;
  const rows = golden.rows.map(({ ids, typeIds, label = 0, ...places }) => ({
    ids: Int32Array.from(ids),
    typeIds: typeIds === undefined ? new Int32Array(ids.length) : Int32Array.from(typeIds),
    label,
    ...places,
  }));
  const causal = golden.head === 'causal-lm';
  return {
    name,
    golden,
    checkpoint: `${root}${name}/checkpoint`,
    adapter: `${root}${name}/adapter`,
    architecture: await architectureOf(golden),
    classes: causal ? 0 : 3,
    rows,
    targets: causal ? answerTokens(rows) : rows.map(({ label }) => label),
  };
}

/** An adapter's parameters, or the PEFT folder that holds it and the head. */
export type From = { readonly folder: string } | { readonly params: JsonObject };

/** Opens a case under an adapter. */
export const openUnder = async (
  own: FamilyCase,
  implementation: AdapterImplementation,
  from: From,
  evaluation = false,
): Promise<Network> =>
  openNetwork({ ...(await optionsUnder(own, implementation, from)), evaluation });

/** What a case under an adapter is opened with, on any engine. */
export async function optionsUnder(
  { checkpoint, architecture, classes, name }: FamilyCase,
  implementation: AdapterImplementation,
  from: From,
): Promise<NetworkOptions> {
  const config = architecture.parseConfig(await readConfig(checkpoint), classes);
  const shape: ModelShape = {
    architecture,
    linears: architecture.linears(config),
    parameters: architecture.parameters(config),
  };
  const initFrom = 'folder' in from ? { initFrom: from.folder } : {};
  return {
    architecture,
    model: { path: checkpoint, digest: name },
    classes,
    seed: 1,
    adapter: await implementation.create('folder' in from ? {} : from.params, {
      ...shape,
      ...initFrom,
    }),
    ...('folder' in from
      ? { head: await readHead(from.folder, { architecture, config, classes }) }
      : {}),
  };
}

/** Under full fine-tuning, or LoRA from the adapter's folder (A, B and head given). */
export const openFamily = (
  own: FamilyCase,
  kind: 'full' | 'lora',
  evaluation = false,
): Promise<Network> =>
  kind === 'lora'
    ? openUnder(own, lora, { folder: own.adapter }, evaluation)
    : openUnder(own, full, { params: {} }, evaluation);

/** The name that transformers or PEFT gives a parameter of a network, as the goldens have it. */
export const goldenName = (
  { architecture }: Pick<Network, 'architecture'>,
  name: string,
): string =>
  /\.lora_[AB]$/.test(name)
    ? architecture.externalName(`${name.replace(/\.lora_[AB]$/, '')}.weight`).slice(0, -6) +
      name.slice(-6)
    : architecture.externalName(name);

/** PEFT's name of a parameter without its wrappings. */
export const unwrapped = (name: string): string =>
  name
    .replace(/^base_model\.model\./, '')
    .replace('.modules_to_save.default', '')
    .replace(/\.(lora_[AB])\.default\.weight$/, '.$1');

/** @param transposed whether the checkpoint holds the matrix transposed */
export function checksum(gradient: Tensor, transposed: boolean): Checksum {
  const data = gradient.dataSync(),
    [m = 1, n = 1] = gradient.shape;
  let squares = 0,
    dot = 0;
  data.forEach((value, i) => {
    const place = transposed ? (i % n) * m + Math.floor(i / n) : i;
    squares += value * value;
    dot += Math.cos(1 + place) * value;
  });
  return [Math.sqrt(squares), dot];
}
