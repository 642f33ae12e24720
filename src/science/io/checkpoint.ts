/** A transformers checkpoint folder: config.json and model.safetensors, whole or sharded (model.safetensors.index.json). */
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserFault } from '../../api.ts';
import type { HostTensor } from '../nn/types.ts';
import { readSafetensors, readSafetensorsHeader, writeSafetensors, type TensorEntry } from './safetensors.ts';

export interface Checkpoint {
  readonly dir: string;
  /** config.json, parsed. */
  readonly config: unknown;
  /** Every tensor by its name in the file, with the file that holds it. */
  readonly tensors: ReadonlyMap<string, TensorEntry & { readonly file: string }>;
  read(names: readonly string[]): Promise<Map<string, HostTensor>>;
}

/** Reads and parses a JSON file; a UserFault names it. */
export async function readJson(path: string): Promise<unknown> {
  let text: string;
  try { text = await readFile(path, 'utf8'); } catch { throw new UserFault(`${path} can't be read`, 'A checkpoint folder holds config.json, model.safetensors and tokenizer.json.'); }
  try { return JSON.parse(text); } catch (error) { throw new UserFault(`${path} is no JSON: ${(error as Error).message}`); }
}

async function tensorFiles(dir: string): Promise<string[]> {
  const single = join(dir, 'model.safetensors');
  if (existsSync(single)) return [single];
  const index = join(dir, 'model.safetensors.index.json');
  if (existsSync(index)) {
    const parsed = await readJson(index);
    const map = typeof parsed === 'object' && parsed !== null ? (parsed as { weight_map?: unknown }).weight_map : undefined;
    if (typeof map !== 'object' || map === null) throw new UserFault(`${index} has no weight_map`);
    return [...new Set(Object.values(map as Record<string, string>))].sort().map((name) => join(dir, name));
  }
  throw new UserFault(`${dir} holds no model.safetensors`, existsSync(join(dir, 'pytorch_model.bin'))
    ? 'Convert pytorch_model.bin: model.save_pretrained(DIR, safe_serialization=True) in transformers.'
    : 'A checkpoint folder holds config.json, model.safetensors and tokenizer.json.');
}

/** Opens a checkpoint: reads config and headers, no tensor yet. Throws UserFault naming the file at fault. */
export async function openCheckpoint(dir: string): Promise<Checkpoint> {
  const config = await readJson(join(dir, 'config.json'));
  const tensors = new Map<string, TensorEntry & { file: string }>();
  for (const file of await tensorFiles(dir)) {
    for (const [name, entry] of (await readSafetensorsHeader(file)).tensors) tensors.set(name, { ...entry, file });
  }
  const read = async (names: readonly string[]): Promise<Map<string, HostTensor>> => {
    const byFile = new Map<string, string[]>();
    for (const name of names) {
      const file = tensors.get(name)?.file;
      if (file === undefined) throw new UserFault(`${dir} has no tensor "${name}"`);
      byFile.set(file, [...byFile.get(file) ?? [], name]);
    }
    const out = new Map<string, HostTensor>();
    for (const [file, wanted] of byFile) for (const [name, tensor] of await readSafetensors(file, wanted)) out.set(name, tensor);
    return out;
  };
  return { dir, config, tensors, read };
}

/** Files beside the weights that a tokenizer needs, copied along where the base has them. */
const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'vocab.txt'];

/**
 * Writes a folder that transformers' from_pretrained loads: the base's config.json with these classes, model.safetensors
 * (tensors by their names in transformers), and the base's tokenizer.
 */
export async function writeCheckpoint(dir: string, base: string, classes: readonly string[], architectureName: string, tensors: ReadonlyMap<string, HostTensor>): Promise<void> {
  await mkdir(dir, { recursive: true });
  const config = await readJson(join(base, 'config.json')) as Record<string, unknown>;
  const labels = Object.fromEntries(classes.map((name, i) => [String(i), name]));
  const { _name_or_path: _path, num_labels: _count, torch_dtype: _old, dtype: _dtype, ...kept } = config;
  const written = {
    ...kept, architectures: [architectureName], dtype: 'float32',
    id2label: labels, label2id: Object.fromEntries(classes.map((name, i) => [name, i])),
  };
  await writeFile(join(dir, 'config.json'), `${JSON.stringify(written, null, 2)}\n`);
  await writeSafetensors(join(dir, 'model.safetensors'), tensors);
  for (const file of TOKENIZER_FILES) if (existsSync(join(base, file))) await copyFile(join(base, file), join(dir, file));
}
