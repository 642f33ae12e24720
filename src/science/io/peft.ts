/**
 * PEFT's adapter folder: adapter_config.json and adapter_model.safetensors, with the classifier that
 * `modules_to_save` keeps. Names in the file are `base_model.model.` + the model's own (`bert.encoder.…`) + `.lora_A.weight`.
 */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserFault } from '../../api.ts';
import type { Architecture, HostTensor, LinearLayer } from '../nn/types.ts';
import { readJson } from './checkpoint.ts';
import { readSafetensors, readSafetensorsHeader, writeSafetensors } from './safetensors.ts';

const PREFIX = 'base_model.model.';
const CONFIG = 'adapter_config.json', WEIGHTS = 'adapter_model.safetensors';

export interface PeftFactors {
  readonly A: HostTensor; // (r, n)
  readonly B: HostTensor; // (m, r)
  readonly alpha: number;
}

export interface PeftAdapter {
  readonly rank: number;
  readonly alpha: number;
  readonly rslora: boolean;
  /** By canonical layer name. */
  readonly layers: ReadonlyMap<string, PeftFactors>;
  /** Model parameters saved whole (the classifier), by canonical name. */
  readonly saved: ReadonlyMap<string, HostTensor>;
}

/** PEFT's get_pattern_key: the first key that matches the module's name or a dotted end of it. */
function patternValue(patterns: unknown, module: string): number | undefined {
  if (typeof patterns !== 'object' || patterns === null) return undefined;
  for (const [key, value] of Object.entries(patterns as Record<string, unknown>)) {
    if (new RegExp(`^(?:.*\\.)?(?:${key})$`).test(module) && typeof value === 'number') return value;
  }
  return undefined;
}

const UNREAD: readonly (readonly [field: string, accepted: readonly unknown[]])[] = [
  ['use_dora', [false, null]], ['fan_in_fan_out', [false, null]], ['lora_bias', [false, null]], ['bias', ['none', null]],
  ['layer_replication', [null]], ['trainable_token_indices', [null]],
];

/** adapter_config.json, checked for what is implemented. */
export async function readPeftConfig(dir: string): Promise<{ readonly rank: number; readonly alpha: number; readonly rslora: boolean; readonly raw: Readonly<Record<string, unknown>> }> {
  const path = join(dir, CONFIG);
  if (!existsSync(path)) throw new UserFault(`${dir} holds no ${CONFIG}`, 'Name a folder that PEFT\'s save_pretrained wrote.');
  const raw = await readJson(path) as Record<string, unknown>;
  if (raw === null || typeof raw !== 'object') throw new UserFault(`${path} holds no object`);
  if (raw['peft_type'] !== 'LORA') throw new UserFault(`${path}: peft_type is ${JSON.stringify(raw['peft_type'])}, "LORA" is what is read here`);
  for (const [field, accepted] of UNREAD) {
    if (raw[field] !== undefined && !accepted.includes(raw[field])) throw new UserFault(`${path}: ${field} ${JSON.stringify(raw[field])} is not implemented`);
  }
  const { r: rank, lora_alpha: alpha } = raw;
  if (typeof rank !== 'number' || !Number.isInteger(rank) || rank < 1) throw new UserFault(`${path}: r is ${JSON.stringify(rank)}`);
  if (typeof alpha !== 'number' || !(alpha > 0)) throw new UserFault(`${path}: lora_alpha is ${JSON.stringify(alpha)}`);
  return { rank, alpha, rslora: raw['use_rslora'] === true, raw };
}

/** The tensors' names in the file → what they are here. PEFT wraps a model with or without its task's prefix (`bert.`). */
function nameTable(architecture: Architecture, linears: readonly LinearLayer[]): Map<string, { layer: LinearLayer; part: 'A' | 'B' | 'weight' | 'bias' }> {
  const table = new Map<string, { layer: LinearLayer; part: 'A' | 'B' | 'weight' | 'bias' }>();
  for (const layer of linears) {
    for (const module of new Set([layer.name, architecture.externalName(`${layer.name}.weight`).replace(/\.weight$/, '')])) {
      table.set(`${PREFIX}${module}.lora_A.weight`, { layer, part: 'A' });
      table.set(`${PREFIX}${module}.lora_B.weight`, { layer, part: 'B' });
      if (!layer.adaptable) {
        table.set(`${PREFIX}${module}.weight`, { layer, part: 'weight' });
        table.set(`${PREFIX}${module}.bias`, { layer, part: 'bias' });
      }
    }
  }
  return table;
}

/** Reads a folder. Throws UserFault naming file and tensor where something is missing, foreign or of a wrong shape. */
export async function readPeft(dir: string, architecture: Architecture, linears: readonly LinearLayer[]): Promise<PeftAdapter> {
  const { rank, alpha, rslora, raw } = await readPeftConfig(dir);
  const path = join(dir, WEIGHTS);
  if (!existsSync(path)) throw new UserFault(`${dir} holds no ${WEIGHTS}`);
  const table = nameTable(architecture, linears);
  const shapes = (await readSafetensorsHeader(path)).tensors;
  const found = new Map<string, { A?: HostTensor; B?: HostTensor }>();
  const saved = new Map<string, HostTensor>();
  for (const [name, tensor] of await readSafetensors(path)) {
    const entry = table.get(name);
    if (entry === undefined) throw new UserFault(`${path}: tensor "${name}" belongs to no layer of this model`);
    const { layer, part } = entry;
    const shape = shapes.get(name)!.shape;
    const module = name.slice(PREFIX.length).replace(/\.lora_[AB]\.weight$/, '');
    const r = patternValue(raw['rank_pattern'], module) ?? rank;
    const expected = { A: [r, layer.in], B: [layer.out, r], weight: [layer.out, layer.in], bias: [layer.out] }[part];
    if (shape.length !== expected.length || shape.some((x, i) => x !== expected[i])) {
      throw new UserFault(`${path}: tensor "${name}" has shape [${shape.join(', ')}], [${expected.join(', ')}] was expected`);
    }
    if (part === 'A' || part === 'B') found.set(layer.name, { ...found.get(layer.name), [part]: tensor });
    else saved.set(`${layer.name}.${part}`, tensor);
  }
  const layers = new Map<string, PeftFactors>();
  for (const { name } of linears) {
    const pair = found.get(name);
    if (pair === undefined) continue;
    if (pair.A === undefined || pair.B === undefined) throw new UserFault(`${path}: layer "${name}" has lora_${pair.A === undefined ? 'B' : 'A'} without its partner`);
    const module = architecture.externalName(`${name}.weight`).replace(/\.weight$/, '');
    layers.set(name, { A: pair.A, B: pair.B, alpha: patternValue(raw['alpha_pattern'], module) ?? alpha });
  }
  if (layers.size === 0) throw new UserFault(`${path} holds no LoRA factors`);
  return { rank, alpha, rslora, layers, saved };
}

/** Whether a folder is a PEFT adapter's (and no checkpoint's). */
export function isPeftFolder(dir: string): boolean {
  return existsSync(join(dir, CONFIG));
}

/** Writes a folder that PEFT loads onto BertForSequenceClassification (or its like). All layers share rank and alpha. */
export async function writePeft(dir: string, adapter: PeftAdapter, architecture: Architecture): Promise<void> {
  await mkdir(dir, { recursive: true });
  const module = (layer: string): string => architecture.externalName(`${layer}.weight`).replace(/\.weight$/, '');
  const tensors = new Map<string, HostTensor>();
  for (const [layer, { A, B }] of adapter.layers) {
    tensors.set(`${PREFIX}${module(layer)}.lora_A.weight`, A);
    tensors.set(`${PREFIX}${module(layer)}.lora_B.weight`, B);
  }
  for (const [name, tensor] of adapter.saved) tensors.set(`${PREFIX}${architecture.externalName(name)}`, tensor);
  const config = {
    peft_type: 'LORA', task_type: 'SEQ_CLS', base_model_name_or_path: null, inference_mode: true,
    r: adapter.rank, lora_alpha: adapter.alpha, use_rslora: adapter.rslora, lora_dropout: 0, bias: 'none', fan_in_fan_out: false, init_lora_weights: true,
    target_modules: [...adapter.layers.keys()].map(module),
    modules_to_save: [...new Set([...adapter.saved.keys()].map((name) => name.replace(/\.(weight|bias)$/, '')))],
  };
  await writeFile(join(dir, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
  await writeSafetensors(join(dir, WEIGHTS), tensors);
}
