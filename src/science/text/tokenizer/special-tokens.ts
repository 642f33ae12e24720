/** The special tokens that tokenizer_config.json and special_tokens_map.json name. */
import { UserFault } from '../../../api.ts';
import { isRecord, shown } from '../../../base/untrusted/json.ts';

/** The names that every tokenizer of transformers knows, in its order. */
const NAMES = ['bos', 'eos', 'unk', 'sep', 'pad', 'cls', 'mask'].map((name) => `${name}_token`);

export interface SpecialTokens {
  /** The tokens by their names (`eos_token`, `image_token`). */
  readonly names: Readonly<Record<string, string>>;
  /** All of them as the files have them: texts, or objects with settings. */
  readonly values: readonly unknown[];
}

const contentOf = (value: unknown): unknown => (isRecord(value) ? value['content'] : value);

/**
 * Reads the special tokens as the fast tokenizers of transformers 5 do: special_tokens_map.json is
 * only read where tokenizer_config.json has no `added_tokens_decoder`, and then it wins. Throws
 * UserFault where a name has no token.
 */
export function specialTokens(config: unknown, map: unknown, name: string): SpecialTokens {
  const settings: Record<string, unknown> = { ...(isRecord(config) ? config : {}) };
  if (!('added_tokens_decoder' in settings) && isRecord(map)) Object.assign(settings, map);
  const names: Record<string, string> = {},
    values: unknown[] = [];
  const add = (key: string, value: unknown): void => {
    const content = contentOf(value);
    if (typeof content !== 'string' || content === '')
      throw new UserFault(`${name}: ${key} is ${shown(value)}, which is not a token`);
    names[key] = content;
    values.push(value);
  };
  for (const key of NAMES) {
    const value = settings[key];
    if (value !== undefined && value !== null) add(key, value);
  }
  for (const [key, value] of Object.entries(settings))
    if (key.endsWith('_token') && !NAMES.includes(key) && typeof value === 'string')
      add(key, value);
  const extra = settings['extra_special_tokens'] ?? settings['additional_special_tokens'];
  if (Array.isArray(extra)) values.push(...(extra as readonly unknown[]));
  else if (isRecord(extra)) for (const [key, value] of Object.entries(extra)) add(key, value);
  return { names, values };
}
