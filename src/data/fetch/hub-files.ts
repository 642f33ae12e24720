/** Which files of a hub repository are wanted: a model's weights in one format and what its tokenizer needs; a data set's tables. */
import { posix } from 'node:path';
import { UserFault } from '../../api.ts';
import { isGlob, matching } from '../glob.ts';

export interface Repository {
  readonly type: 'model' | 'dataset';
  readonly name: string;
  /** Branch, tag or commit. */
  readonly revision: string;
  /** File, folder or glob in it; '' for all that is wanted. */
  readonly fragment: string;
}

const SETTINGS =
  /^(config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|adapter_config)\.json$|^(vocab|merges)\.txt$|\.model$|^adapter_model\.safetensors$/;
const WEIGHTS = /^model(-\d{5}-of-\d{5})?\.safetensors$|^model\.safetensors\.index\.json$/;
const TABLES = /\.(parquet|tsv|csv|jsonl|ndjson)$/i;

export const within = (fragment: string): string => {
  const inside = posix.normalize(fragment.replace(/^\/+/, '')).replace(/\/$/, '');
  return inside === '.' ? '' : inside;
};

/** The names among `all` that are wanted. @throws UserFault where they can't make a model or a data set. */
export function wantedFiles(repository: Repository, all: readonly string[]): string[] {
  const { type, name } = repository,
    inside = within(repository.fragment);
  const holds = `It holds ${[...all].sort().slice(0, 12).join(', ')}${all.length > 12 ? ` and ${all.length - 12} more` : ''}.`;
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
        `The hub's data set ${name} has no Parquet, TSV, CSV or JSON-lines file${inside === '' ? '' : ` in ${inside}`}.`,
        `${holds} Many data sets have Parquet files at the revision refs/convert/parquet.`,
      );
    return tables;
  }
  // Weights and settings lie side by side; other folders hold other formats of the same model.
  const beside = all
    .filter((file) => file.startsWith(prefix) && !file.slice(prefix.length).includes('/'))
    .map((file) => file.slice(prefix.length));
  const whole = beside.includes('model.safetensors');
  const names = beside.filter(
    (file) => SETTINGS.test(file) || (whole ? file === 'model.safetensors' : WEIGHTS.test(file)),
  );
  const hasModel = beside.includes('config.json') && names.some((file) => WEIGHTS.test(file));
  if (!hasModel && !beside.includes('adapter_model.safetensors')) {
    throw new UserFault(
      `The hub's model ${name} has no ${beside.includes('config.json') ? 'model.safetensors' : 'config.json'}${inside === '' ? '' : ` in ${inside}`}.`,
      `${holds} Choose a revision or a folder (#FOLDER) that holds config.json, model.safetensors and tokenizer.json.`,
    );
  }
  return names.map((file) => `${prefix}${file}`);
}
