/**
 * The precompiled normalisation of sentencepiece (`precompiled_charsmap` of tokenizer.json): a
 * double-array trie (darts-clone) from UTF-8 to the places of texts in a list, as the Rust crate
 * spm_precompiled reads it.
 */
import type { Refuse } from './expression.ts';

const encoder = new TextEncoder(),
  decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** The largest map in use has 0.3 MB. */
const MOST_BYTES = 16 * 2 ** 20;
/** Grapheme clusters of more bytes are looked up character by character. */
const LONGEST_CLUSTER = 6;

const hasLeaf = (unit: number): boolean => ((unit >>> 8) & 1) === 1;
const valueOf = (unit: number): number => unit & 0x7fffffff;
/** The byte that leads to a unit, or a number above 255 for a unit that holds a value. */
const labelOf = (unit: number): number => (unit & 0x800000ff) >>> 0;
const offsetOf = (unit: number): number => ((unit >>> 10) << ((unit & 512) >>> 6)) >>> 0;

/** Returns the text of the shortest prefix of a chunk in the trie, as the crate does, or null. */
function lookup(units: Uint32Array, texts: Uint8Array): (chunk: string) => string | null {
  return (chunk) => {
    let unit = units[0] ?? 0,
      place = offsetOf(unit);
    for (const byte of encoder.encode(chunk)) {
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

/** The function that a charsmap describes. Throws the fault of `refuse` where it can't be read. */
export function charsmap(base64: unknown, refuse: Refuse): (text: string) => string {
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
  const find = lookup(units, bytes.subarray(4 + size));
  const known = new Map<string, string | null>();
  const cached = (chunk: string): string | null => {
    let result = known.get(chunk);
    if (result === undefined) {
      if (known.size >= 10_000) known.clear();
      known.set(chunk, (result = find(chunk)));
    }
    return result;
  };
  const clusters = new Intl.Segmenter('und', { granularity: 'grapheme' });
  return (text) => {
    let out = '';
    for (const { segment } of clusters.segment(text)) {
      const whole = Buffer.byteLength(segment) < LONGEST_CLUSTER ? cached(segment) : null;
      if (whole !== null) out += whole;
      else for (const character of segment) out += cached(character) ?? character;
    }
    return out;
  };
}
