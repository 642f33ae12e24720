/** The normalizers of tokenizer.json, with the results of Python's tokenizers. */
import { isRecord, shown } from '../../../base/untrusted/json.ts';
import { charsmap } from './charsmap.ts';
import { BYTE_CHARACTERS } from './decoder.ts';
import { type Config, expressionOf, type Refuse } from './expression.ts';
import { mark, nonspacingMark, normalForm, removed, whiteSpace } from './unicode.ts';

export type Normalize = (text: string) => string;

/** Ideographs that BertNormalizer sets apart. The gap at U+2B820 is one of the original. */
const IDEOGRAPH =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/gu;

/**
 * Lower case, character by character, as in Rust: JavaScript would write ς for a Σ at the end of a
 * word.
 */
const lowercase: Normalize = (text) => text.replaceAll('Σ', 'σ').toLowerCase();

const decompose = normalForm('NFD');

function bert(config: Config): Normalize {
  const steps: Normalize[] = [];
  if (config['clean_text'] !== false)
    steps.push((text) => text.replace(removed, '').replace(whiteSpace, ' '));
  if (config['handle_chinese_chars'] !== false)
    steps.push((text) => text.replace(IDEOGRAPH, ' $& '));
  const lower = config['lowercase'] !== false;
  const accents = config['strip_accents'];
  if (typeof accents === 'boolean' ? accents : lower)
    steps.push((text) => decompose(text).replace(nonspacingMark, ''));
  if (lower) steps.push(lowercase);
  return chain(steps);
}

const chain =
  (steps: readonly Normalize[]): Normalize =>
  (text) =>
    steps.reduce((now, step) => step(now), text);

function strip(left: boolean, right: boolean): Normalize {
  const start = /^\p{White_Space}+/u,
    end = /\p{White_Space}*$/u;
  return (text) => {
    const cut = left ? text.replace(start, '') : text;
    if (!right) return cut;
    let last = cut.length;
    while (last > 0 && end.exec(cut.slice(last - 1, last))?.[0] !== '') last--;
    return cut.slice(0, last);
  };
}

const encoder = new TextEncoder();
export const byteLevel: Normalize = (text) => {
  let out = '';
  for (const byte of encoder.encode(text)) out += BYTE_CHARACTERS[byte] ?? '';
  return out;
};

function stepOf(config: Config, refuse: Refuse): Normalize {
  switch (config['type']) {
    case 'BertNormalizer':
      return bert(config);
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD':
      return normalForm(config['type']);
    case 'Lowercase':
      return lowercase;
    case 'StripAccents':
      return (text) => text.replace(mark, '');
    case 'Strip':
      return strip(config['strip_left'] !== false, config['strip_right'] !== false);
    case 'Prepend': {
      const prefix = config['prepend'];
      if (typeof prefix !== 'string') throw refuse(`a normalizer Prepend of ${shown(prefix)}`);
      return (text) => (text === '' ? '' : prefix + text);
    }
    case 'Replace': {
      const { content } = config,
        pattern = expressionOf(config['pattern'], 'normalizer Replace', refuse);
      if (typeof content !== 'string') throw refuse(`a normalizer Replace by ${shown(content)}`);
      return (text) => text.replace(pattern, () => content);
    }
    case 'Precompiled':
      return charsmap(config['precompiled_charsmap'], refuse);
    case 'ByteLevel':
      return byteLevel;
    case 'Sequence': {
      const inner = config['normalizers'];
      return chain(
        (Array.isArray(inner) ? inner : []).filter(isRecord).map((step) => stepOf(step, refuse)),
      );
    }
    default:
      throw refuse(`a normalizer of type ${shown(config['type'])}`);
  }
}

/** The normalizer that tokenizer.json describes; null where it describes none. */
export const normalizerOf = (config: unknown, refuse: Refuse): Normalize | null =>
  isRecord(config) ? stepOf(config, refuse) : null;

/**
 * Whether a normalizer may remove the start of a text. Python's Metaspace with `prepend_scheme:
 * first` then no longer finds a first piece, which is not implemented here.
 */
export function mayCutStart(config: unknown): boolean {
  if (!isRecord(config)) return false;
  const inner = config['normalizers'];
  if (config['type'] === 'Sequence') return Array.isArray(inner) && inner.some(mayCutStart);
  if (config['type'] === 'Replace') return config['content'] === '';
  return !['NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase', 'Prepend'].includes(String(config['type']));
}
