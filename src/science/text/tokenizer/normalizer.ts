/**
 * The normalizers of tokenizer.json, with the results of Python's tokenizers. The precompiled
 * normalisation of sentencepiece (`precompiled_charsmap`) is a double-array trie (darts-clone) from
 * UTF-8 to the places of texts in a list, as the Rust crate spm_precompiled reads it.
 */
import { memoized } from '../../../base/memoized.ts';
import { isRecord, shown } from '../../../base/untrusted/json.ts';
import { BYTE_CHARACTERS } from './decoder.ts';
import { type Config, makeExpression, type Refuse, stepsIn } from './expression.ts';
import { isSpace, mark, nonspacingMark, normalForm, removed, whiteSpace } from './unicode.ts';

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** The most bytes of a `precompiled_charsmap`; the largest in use has 0.3 MB. */
const MOST_BYTES = 16 * 2 ** 20;
/** Grapheme clusters of this many bytes or more are looked up character by character. */
const LONG_CLUSTER = 6;

// The fields of a unit (a 32-bit entry of the trie), as darts-clone packs them.
/** Whether a text of the list belongs to the bytes that lead to a unit. */
const hasLeaf = (unit: number): boolean => ((unit >>> 8) & 1) === 1;
const valueOf = (unit: number): number => unit & 0x7fffffff;
/** The byte that leads to a unit, or a number above 255 for a unit that holds a value. */
const labelOf = (unit: number): number => (unit & 0x800000ff) >>> 0;
/** The place of a unit's child is the unit's place XOR this offset XOR the child's byte. */
const offsetOf = (unit: number): number => ((unit >>> 10) << ((unit & 512) >>> 6)) >>> 0;

/**
 * Returns a function that finds the text by which a chunk is replaced: the text of the chunk's
 * shortest prefix in the trie, as the crate does. It returns null if the trie has no prefix of the
 * chunk.
 */
function makeLookup(units: Uint32Array, texts: Uint8Array): (chunk: string) => string | null {
  return (chunk) => {
    let unit = units[0] ?? 0,
      place = offsetOf(unit);
    for (const byte of Buffer.from(chunk)) {
      if (byte === 0) return null;
      place = (place ^ byte) >>> 0;
      unit = units[place] ?? 0;
      if (labelOf(unit) !== byte) return null;
      place = (place ^ offsetOf(unit)) >>> 0;
      if (hasLeaf(unit)) {
        const from = valueOf(units[place] ?? 0);
        if (from >= texts.length) return null;
        const to = texts.indexOf(0, from);
        return decoder.decode(texts.subarray(from, to < 0 ? texts.length : to));
      }
    }
    return null;
  };
}

/**
 * Returns the normalisation that a `precompiled_charsmap` describes, which is in base64. Without
 * one (null or empty), a text stays as it is. Throws the fault of `refuse` for bytes that are no
 * such map.
 */
function makeCharsmap(base64: unknown, refuse: Refuse): (text: string) => string {
  const what = 'a precompiled_charsmap that ';
  if (base64 === null) return (text) => text;
  if (typeof base64 !== 'string' || base64.length > MOST_BYTES * 1.4)
    throw refuse(`${what}is not base64 of at most ${MOST_BYTES} bytes`);
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.length === 0) return (text) => text;
  const size = bytes.length < 4 ? 0 : bytes.readUInt32LE(0);
  if (size % 4 !== 0 || size === 0 || 4 + size > bytes.length)
    throw refuse(`${what}names a trie of ${size} bytes and has ${bytes.length} in all`);
  const units = Uint32Array.from({ length: size / 4 }, (_, i) => bytes.readUInt32LE(4 + 4 * i));
  const find = memoized(makeLookup(units, bytes.subarray(4 + size)), 10_000);
  const clusters = new Intl.Segmenter('und', { granularity: 'grapheme' });
  return (text) => {
    let out = '';
    for (const { segment } of clusters.segment(text)) {
      const whole = Buffer.byteLength(segment) < LONG_CLUSTER ? find(segment) : null;
      if (whole !== null) out += whole;
      else for (const character of segment) out += find(character) ?? character;
    }
    return out;
  };
}

export type Normalize = (text: string) => string;

/**
 * The ideographs around which BertNormalizer puts spaces. Like Python's tokenizers, it leaves out
 * U+2B820 to U+2B91F.
 */
const IDEOGRAPH =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/gu;

/**
 * Lowers each character by itself, as Rust does: JavaScript would write ς for a Σ at the end of a
 * word.
 */
const lowercase: Normalize = (text) => text.replaceAll('Σ', 'σ').toLowerCase();

const decompose = normalForm('NFD');

/**
 * Returns the normalisation of BERT. All of its parts are on unless the config turns them off;
 * without `strip_accents`, accents are removed if the text is put into lower case.
 */
function bertNormalizer(config: Config): Normalize {
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
  return (text) => {
    let from = 0,
      to = text.length;
    if (left) while (from < to && isSpace(text.charAt(from))) from++;
    if (right) while (to > from && isSpace(text.charAt(to - 1))) to--;
    return text.slice(from, to);
  };
}

/** Writes each byte of a text's UTF-8 as the character that stands for it in byte-level tokens. */
export const byteLevel: Normalize = (text) => {
  let out = '';
  for (const byte of Buffer.from(text)) out += BYTE_CHARACTERS[byte] ?? '';
  return out;
};

/**
 * Returns the normalisation of one part. Throws the fault of `refuse` for what is not supported.
 */
function makeStep(config: Config, refuse: Refuse): Normalize {
  switch (config['type']) {
    case 'BertNormalizer':
      return bertNormalizer(config);
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
        pattern = makeExpression(config['pattern'], 'normalizer Replace', refuse);
      if (typeof content !== 'string') throw refuse(`a normalizer Replace by ${shown(content)}`);
      return (text) => text.replace(pattern, () => content);
    }
    case 'Precompiled':
      return makeCharsmap(config['precompiled_charsmap'], refuse);
    case 'ByteLevel':
      return byteLevel;
    case 'Sequence':
      return chain(stepsIn(config, 'normalizers').map((step) => makeStep(step, refuse)));
    default:
      throw refuse(`a normalizer of type ${shown(config['type'])}`);
  }
}

/**
 * Returns the normalisation that `normalizer` of tokenizer.json describes; null without one. Throws
 * the fault of `refuse` for what is not supported.
 */
export const makeNormalizer = (config: unknown, refuse: Refuse): Normalize | null =>
  isRecord(config) ? makeStep(config, refuse) : null;

/**
 * Whether a normalizer may remove the start of a text. In Python, a Metaspace with `prepend_scheme:
 * first` finds no first piece in a text that lost its start, which is not implemented here.
 */
export function mayCutStart(config: unknown): boolean {
  if (!isRecord(config)) return false;
  if (config['type'] === 'Sequence') return stepsIn(config, 'normalizers').some(mayCutStart);
  if (config['type'] === 'Replace') return config['content'] === '';
  return !['NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase', 'Prepend'].includes(String(config['type']));
}
