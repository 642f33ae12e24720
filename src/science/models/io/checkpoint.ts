/** Reads and writes the folder of a transformers checkpoint, whole or in shards. */
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { taskOf, UserFault } from '../../../api.ts';
import {
  changedJson,
  isRecord,
  readJsonFile,
  readTextFile,
  shown,
} from '../../../base/untrusted/json.ts';
import { fileInside } from '../../../base/untrusted/paths.ts';
import type { HostTensor } from '../types.ts';
import {
  readSafetensors,
  readSafetensorsHeader,
  type TensorEntry,
  writeSafetensors,
} from './safetensors.ts';
import { checkFloat } from './stored.ts';

const INDEX = 'model.safetensors.index.json';
const HOLDS = 'A checkpoint folder holds config.json, model.safetensors and tokenizer.json.',
  MIXED = 'The index and the shards belong to different checkpoints: fetch the checkpoint again.';

export interface Checkpoint {
  readonly dir: string;
  readonly config: unknown;
  /** Every tensor by its name in the file, with the path of that file. */
  readonly tensors: ReadonlyMap<string, TensorEntry & { readonly file: string }>;
  /** Reads weights by name. Throws UserFault where one is missing, or quantised. */
  read(names: readonly string[]): Promise<Map<string, HostTensor>>;
}

/** Reads a JSON file. Throws UserFault where it is missing, too large, too deep or not JSON. */
export const readJson = (path: string): Promise<unknown> => readJsonFile(path, HOLDS);

/** Files in formats that are not read. Some are pickles, which may run any code when opened. */
const OLD_WEIGHTS = /^(pytorch_model.*\.bin(\.index\.json)?|tf_model\.h5|flax_model\.msgpack)$/;

/** Bound on the number of shards. The largest models have some two hundred. */
const MOST_SHARDS = 10_000;

/**
 * Returns the files with the weights. Where the checkpoint is sharded, also the path of its index
 * and, for each tensor, the file that the index names (`map`). Without shards, `index` is null and
 * `map` empty. Throws UserFault if the folder has no weights, or has them in another format.
 */
async function weightFiles(dir: string): Promise<{
  readonly files: readonly string[];
  readonly index: string | null;
  readonly map: ReadonlyMap<string, string>;
}> {
  const single = join(dir, 'model.safetensors');
  if (existsSync(single)) return { files: [single], index: null, map: new Map() };
  const index = join(dir, INDEX);
  if (existsSync(index)) {
    const parsed = await readJson(index);
    const weightMap = isRecord(parsed) ? parsed['weight_map'] : undefined;
    if (!isRecord(weightMap)) throw new UserFault(`${index} has no weight_map of tensors to files`);
    const map = new Map(
      Object.entries(weightMap).map(([tensor, name]) => [
        tensor,
        fileInside(dir, name, `${index}: the file of tensor ${shown(tensor)}`),
      ]),
    );
    const files = [...new Set(map.values())].sort();
    if (files.length > MOST_SHARDS)
      throw new UserFault(`${index} names ${files.length} files; at most ${MOST_SHARDS} are read`);
    return { files, index, map };
  }
  const old = (await readdir(dir)).find((name) => OLD_WEIGHTS.test(name));
  if (old !== undefined) {
    throw new UserFault(
      `${dir} holds its weights in ${old}, not in model.safetensors`,
      'Convert them once with transformers: ' +
        'AutoModel.from_pretrained(DIR).save_pretrained(NEW_DIR) writes safetensors (use the ' +
        'class of the head to keep the head), and AutoTokenizer likewise. Or choose a checkpoint ' +
        'that has model.safetensors.',
    );
  }
  throw new UserFault(
    `${dir} holds no model.safetensors`,
    `${HOLDS} To draw the weights instead, write model.init: random.`,
  );
}

/** Reads a checkpoint's config and headers, but no tensor. Throws UserFault naming the file. */
export async function openCheckpoint(dir: string): Promise<Checkpoint> {
  const config = await readJson(join(dir, 'config.json'));
  const tensors = new Map<string, TensorEntry & { file: string }>();
  const { files, index, map } = await weightFiles(dir);
  for (const file of files) {
    if (index !== null && !existsSync(file))
      throw new UserFault(
        `${dir} lacks the shard ${basename(file)}, which ${basename(index)} names`,
        'Fetch the checkpoint again: each of its shards belongs to it.',
      );
    for (const [name, entry] of (await readSafetensorsHeader(file)).tensors) {
      const listed = map.get(name);
      if (index !== null && listed !== file) {
        const says = listed
          ? `has tensor "${name}" in ${basename(listed)}`
          : `does not list tensor "${name}"`;
        throw new UserFault(`${file}: ${basename(index)} ${says}`, MIXED);
      }
      tensors.set(name, { ...entry, file });
    }
  }
  for (const [name, file] of map) {
    if (!tensors.has(name))
      throw new UserFault(`${file} has no tensor "${name}", which ${INDEX} puts there`, MIXED);
  }
  const read = async (names: readonly string[]): Promise<Map<string, HostTensor>> => {
    const byFile = new Map<string, string[]>();
    for (const name of names) {
      const entry = tensors.get(name);
      if (entry === undefined) throw new UserFault(`${dir} has no tensor "${name}"`);
      const { file } = entry;
      checkFloat(file, name, entry);
      byFile.set(file, [...(byFile.get(file) ?? []), name]);
    }
    const out = new Map<string, HostTensor>();
    for (const [file, wanted] of byFile)
      for (const [name, tensor] of await readSafetensors(file, wanted)) out.set(name, tensor);
    return out;
  };
  return { dir, config, tensors, read };
}

/**
 * Returns a config.json without `_name_or_path`. If there are `classes`, they become its labels
 * and, if their task is regression, `problem_type` is set to regression.
 */
function withClasses(
  config: Readonly<Record<string, unknown>>,
  classes: readonly string[],
): Record<string, unknown> {
  const { _name_or_path: _path, ...kept } = config;
  if (classes.length === 0) return kept;
  const { num_labels: _count, ...others } = kept;
  return {
    ...others,
    ...(taskOf(classes) === 'regression' ? { problem_type: 'regression' } : {}),
    id2label: Object.fromEntries(classes.map((name, i) => [String(i), name])),
    label2id: Object.fromEntries(classes.map((name, i) => [name, i])),
  };
}

/** The files of the base that `writeCheckpoint` copies, as far as the base has them. */
const COPIED = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'vocab.txt',
  'generation_config.json',
];

/**
 * Writes a folder that transformers' from_pretrained loads, with the tokenizer of the base.
 * @param classes empty where the head has none
 * @param tensors by their names in transformers
 */
export async function writeCheckpoint(
  dir: string,
  base: string,
  classes: readonly string[],
  architectureName: string,
  tensors: ReadonlyMap<string, HostTensor>,
): Promise<void> {
  await mkdir(dir, { recursive: true });
  const path = join(base, 'config.json');
  const config = changedJson(await readTextFile(path), path, (json) => {
    const { torch_dtype: _old, dtype: _dtype, ...kept } = withClasses(json, classes);
    return { ...kept, architectures: [architectureName], dtype: 'float32' };
  });
  await writeFile(join(dir, 'config.json'), config);
  await writeSafetensors(join(dir, 'model.safetensors'), tensors);
  for (const file of COPIED)
    if (existsSync(join(base, file))) await copyFile(join(base, file), join(dir, file));
}
