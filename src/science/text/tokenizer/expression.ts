/**
 * The patterns of tokenizer.json, which are plain texts or regular expressions of Oniguruma.
 * @huggingface/tokenizers rewrites those of Oniguruma for JavaScript.
 */
import { SplitPreTokenizer } from '@huggingface/tokenizers';
import type { UserFault } from '../../../api.ts';
import { escapeRegExp } from '../../../base/regexp.ts';
import { isRecord, shown } from '../../../base/untrusted/json.ts';

export type Config = Readonly<Record<string, unknown>>;

/** Returns the steps that a Sequence lists under `field`; `checkTokenizer` has checked the list. */
export const stepsIn = (config: Config, field: string): Config[] =>
  ((config[field] ?? []) as readonly unknown[]).filter(isRecord);

/**
 * Returns the fault of a part that can't be honoured, which `what` describes: `a normalizer of type
 * "Nmt"`.
 */
export type Refuse = (what: string) => UserFault;

/**
 * Adds ſ (U+017F) and the Kelvin sign (U+212A) to groups `(?i:…)` with s or k. Oniguruma matches
 * them there, since it ignores case by folding them to s and k; the library leaves them out. A
 * group with brackets or a backslash remains as it is.
 */
function addFoldedLetters(source: string): string {
  return source.replace(/\(\?i:((?:[^()\\]|\\.)*)\)/g, (group: string, inner: string) =>
    /[sk]/i.test(inner) && !/[[\]\\]/.test(inner)
      ? `(?i:${inner.replace(/s/gi, '[sS\\x{17F}]').replace(/k/gi, '[kK\\x{212A}]')})`
      : group,
  );
}

/** Whether an expression has atomic groups or possessive repetitions: `(?>a)` or `a++`. */
function hasPossessive(source: string): boolean {
  const plain = source.replace(/\\./g, '_').replace(/\[[^\]]*\]/g, '_');
  return plain.includes('(?>') || /[*+?]\+/.test(plain);
}

/**
 * Returns a pattern of tokenizer.json as a regular expression with the flag g. Throws the fault of
 * `refuse` for a pattern that is neither text nor expression, or has possessive repetitions.
 * @param part the part of the file that has the pattern, for the fault
 */
export function makeExpression(pattern: unknown, part: string, refuse: Refuse): RegExp {
  if (isRecord(pattern) && typeof pattern['String'] === 'string')
    return new RegExp(escapeRegExp(pattern['String']), 'gu');
  if (!isRecord(pattern) || typeof pattern['Regex'] !== 'string')
    throw refuse(`a ${part} with the pattern ${shown(pattern)}`);
  const source = pattern['Regex'];
  if (hasPossessive(source))
    throw refuse(`a ${part} with possessive repetitions in its pattern ${shown(source)}`);
  const split = new SplitPreTokenizer({
    type: 'Split',
    pattern: { Regex: addFoldedLetters(source) },
    behavior: 'Isolated',
    invert: false,
  });
  return Reflect.get(split, 'pattern') as RegExp; // its typings lack the field
}
