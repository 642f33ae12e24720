/** The special tokens that tokenizer_config.json and special_tokens_map.json name. */
import { UserFault } from '../../api.ts';
import { isRecord, shown } from '../../untrusted/json.ts';

/** The names that every tokenizer of transformers knows. */
const NAMES = ['bos', 'eos', 'unk', 'sep', 'pad', 'cls', 'mask'].map((name) => `${name}_token`);

/** The text of a token, which is written as a text or as an object with its settings. */
function contentOf(value: unknown, key: string, name: string): string | null {
  if (value === undefined || value === null) return null;
  const content = isRecord(value) ? value['content'] : value;
  if (typeof content === 'string' && content !== '') return content;
  throw new UserFault(`${name}: ${key} is ${shown(value)}, which is not a token`);
}

/**
 * The special tokens by their names (`eos_token`). Where both files name a token,
 * tokenizer_config.json wins, as in transformers. Throws UserFault where a name has no token.
 */
export function specialTokens(
  config: unknown,
  map: unknown,
  name: string,
): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const source of [config, map]) {
    if (!isRecord(source)) continue;
    for (const key of NAMES) {
      const content = key in found ? null : contentOf(source[key], key, name);
      if (content !== null) found[key] = content;
    }
  }
  return found;
}
