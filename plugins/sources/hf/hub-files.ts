/**
 * Chooses the files of a hub repository that are needed: a model's weights in one format and its
 * tokenizer's files, or a data set's tables.
 */
import { UserFault } from '../../../src/api.ts';
import { firstNames, isGlob, matching } from '../../../src/data/names.ts';
import { insideOf } from '../shared/within.ts';

export interface Repository {
  readonly type: 'model' | 'dataset';
  readonly name: string;
  /** A branch, tag or commit. */
  readonly revision: string;
  /** A file, folder or glob in the repository. If empty, everything that is needed is meant. */
  readonly fragment: string;
}

const SETTINGS = new Set([
  'config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'vocab.txt',
  'merges.txt',
  'adapter_config.json',
  'adapter_model.safetensors',
]);
const isSettings = (name: string): boolean => SETTINGS.has(name) || name.endsWith('.model');
const WEIGHTS = /^model(-\d{5}-of-\d{5})?\.safetensors$|^model\.safetensors\.index\.json$/;
const TABLES = /\.(parquet|tsv|csv|jsonl|ndjson)$/i;

/**
 * Returns the names in `all` that are needed. Throws `UserFault` if the files can't make up a model
 * or a data set.
 */
export function wantedFiles(repository: Repository, all: readonly string[]): string[] {
  const { type, name } = repository,
    path = insideOf(repository.fragment),
    inside = path === '.' ? '' : path;
  const holds = `It holds ${firstNames([...all].sort(), 12)}.`,
    where = inside === '' ? '' : ` in ${inside}`;
  if (inside !== '' && all.includes(inside)) return [inside];
  if (isGlob(inside)) {
    const names = matching(all, inside);
    if (names.length === 0) throw new UserFault(`hf:${name} has no file like ${inside}.`, holds);
    return names;
  }
  const prefix = inside === '' ? '' : `${inside}/`;
  if (inside !== '' && !all.some((file) => file.startsWith(prefix)))
    throw new UserFault(`hf:${name} has no file or folder ${inside}.`, holds);
  if (type === 'dataset') {
    const tables = all.filter((file) => file.startsWith(prefix) && TABLES.test(file));
    if (tables.length === 0)
      throw new UserFault(
        `The hub's data set ${name} has no Parquet, TSV, CSV or JSON-lines ` + `file${where}.`,
        `${holds} Many data sets have Parquet files at the revision refs/convert/parquet.`,
      );
    return tables;
  }
  // Weights and settings are in one folder. Other folders hold other formats of the same model.
  const beside = all
    .filter((file) => file.startsWith(prefix) && !file.slice(prefix.length).includes('/'))
    .map((file) => file.slice(prefix.length));
  const whole = beside.includes('model.safetensors');
  const names = beside.filter(
    (file) => isSettings(file) || (whole ? file === 'model.safetensors' : WEIGHTS.test(file)),
  );
  const hasModel = beside.includes('config.json') && names.some((file) => WEIGHTS.test(file));
  if (!hasModel && !beside.includes('adapter_model.safetensors')) {
    const missing = beside.includes('config.json') ? 'model.safetensors' : 'config.json';
    throw new UserFault(
      `The hub's model ${name} has no ${missing}${where}.`,
      `${holds} Choose a revision or a folder (#FOLDER) that holds config.json, ` +
        'model.safetensors and tokenizer.json.',
    );
  }
  return names.map((file) => `${prefix}${file}`);
}
