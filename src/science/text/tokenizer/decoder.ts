/** The decoder of tokenizer.json, which joins tokens, as Python's tokenizers do. */
import { isRecord, shown } from '../../../base/untrusted/json.ts';
import { type Config, type Refuse, stepsIn } from './expression.ts';

/**
 * A step of the decoder, which changes the list of tokens. What the last step returns is joined to
 * the text.
 */
type Step = (tokens: readonly string[]) => readonly string[];

/** The characters by which byte-level vocabularies write the bytes 0 to 255 (GPT-2's encoder). */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  const isPrintable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(isPrintable(byte) ? byte : next++),
  );
})();
const BYTE_OF = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));

const lossy = new TextDecoder('utf-8', { ignoreBOM: true });
const strict = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });

/**
 * Decodes the bytes that the characters of all tokens stand for, into one text. A token with any
 * other character stays as it is.
 */
const byteLevel: Step = (tokens) => {
  const bytes: number[] = [];
  for (const token of tokens) {
    const own = Array.from(token, (character) => BYTE_OF.get(character));
    if (own.every((byte) => byte !== undefined)) bytes.push(...own);
    else bytes.push(...Buffer.from(token));
  }
  return [lossy.decode(Uint8Array.from(bytes))];
};

/** Runs of tokens `<0xE2>` become text; bytes that are not UTF-8 become one � each. */
const byteFallback: Step = (tokens) => {
  const out: string[] = [];
  let bytes: number[] = [];
  // Writes the text of the bytes since the last other token.
  const flush = (): void => {
    if (bytes.length === 0) return;
    try {
      out.push(strict.decode(Uint8Array.from(bytes)));
    } catch {
      out.push(...bytes.map(() => '\uFFFD'));
    }
    bytes = [];
  };
  for (const token of tokens) {
    const hex = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1];
    if (hex !== undefined) bytes.push(parseInt(hex, 16));
    else {
      flush();
      out.push(token);
    }
  }
  flush();
  return out;
};

/**
 * Removes the spaces that tokenisation put before punctuation and contractions, by the rules of
 * transformers for a decoded text. With `pieces`, by the rules of Python's tokenizers for each
 * piece of a WordPiece decoder.
 */
export function cleanUp(text: string, pieces = false): string {
  let out = text;
  for (const mark of ['.', '?', '!', ',']) out = out.replaceAll(` ${mark}`, mark);
  out = out.replaceAll(" ' ", "'").replaceAll(" n't", "n't").replaceAll(" 'm", "'m");
  if (pieces) out = out.replaceAll(' do not', " don't");
  for (const ending of ["'s", "'ve", "'re"]) out = out.replaceAll(` ${ending}`, ending);
  return out;
}

/**
 * Returns the step that, in all tokens but the first, removes the prefix that marks the
 * continuation of a word or else puts a space before the token. With `cleanup`, it then cleans up
 * each token (`cleanUp`).
 */
function wordPiece(prefix: string, cleanup: boolean): Step {
  return (tokens) =>
    tokens.map((token, i) => {
      const joined =
        i === 0 ? token : token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`;
      return cleanup ? cleanUp(joined, true) : joined;
    });
}

/**
 * Returns the step that writes marks as spaces. If `prepend` is true, the marks of the first token
 * are dropped instead, since the pre-tokenizer put one there.
 */
function metaspace(mark: string, prepend: boolean): Step {
  return (tokens) =>
    tokens.map((token, i) => token.replaceAll(mark, i === 0 && prepend ? '' : ' '));
}

/**
 * Returns the step that removes the character `content` from each token: at most `start` times at
 * its start, and `stop` times at its end.
 */
function strip(content: string, start: number, stop: number): Step {
  return (tokens) =>
    tokens.map((token) => {
      const characters = Array.from(token);
      let from = 0,
        to = characters.length;
      while (from < start && characters[from] === content) from++;
      while (characters.length - to < stop && to > from && characters[to - 1] === content) to--;
      return characters.slice(from, to).join('');
    });
}

/** Returns a field of a step; `fallback` if it is absent or no text. */
const textField = (config: Config, field: string, fallback: string): string => {
  const value = config[field];
  return typeof value === 'string' ? value : fallback;
};
/** Returns a field of a step; 0 if it is absent or no number. */
const numberField = (config: Config, field: string): number => {
  const value = config[field];
  return typeof value === 'number' ? value : 0;
};

/**
 * Returns the step that replaces a text in each token. Throws the fault of `refuse` for a regular
 * expression.
 */
function replace(config: Config, refuse: Refuse): Step {
  const { pattern } = config;
  const from = isRecord(pattern) ? pattern['String'] : undefined;
  if (typeof from !== 'string') throw refuse(`a decoder Replace of ${shown(pattern)}`);
  const to = textField(config, 'content', '');
  return (tokens) => tokens.map((token) => token.split(from).join(to));
}

/**
 * Returns the step of one part of the decoder. Throws the fault of `refuse` for what is not
 * supported.
 */
function makeStep(config: Config, refuse: Refuse): Step {
  switch (config['type']) {
    case 'ByteLevel':
      return byteLevel;
    case 'ByteFallback':
      return byteFallback;
    case 'Fuse':
      return (tokens) => [tokens.join('')];
    case 'WordPiece':
      return wordPiece(textField(config, 'prefix', '##'), config['cleanup'] !== false);
    case 'Metaspace':
      return metaspace(
        textField(config, 'replacement', '▁'),
        config['prepend_scheme'] !== 'never' && config['add_prefix_space'] !== false,
      );
    case 'Replace':
      return replace(config, refuse);
    case 'Strip':
      return strip(
        textField(config, 'content', ' '),
        numberField(config, 'start'),
        numberField(config, 'stop'),
      );
    case 'BPEDecoder': {
      const suffix = textField(config, 'suffix', '</w>');
      return (tokens) =>
        tokens.map((token, i) => token.split(suffix).join(i === tokens.length - 1 ? '' : ' '));
    }
    case 'Sequence': {
      const steps = stepsIn(config, 'decoders').map((step) => makeStep(step, refuse));
      return (tokens) => steps.reduce((now, step) => step(now), tokens);
    }
    default:
      throw refuse(`a decoder of type ${shown(config['type'])}`);
  }
}

/**
 * Returns the function that joins tokens to a text; without a decoder it joins them by spaces.
 * Throws the fault of `refuse`, naming the part, where the decoder can't be honoured.
 */
export function makeDecoder(
  config: unknown,
  refuse: Refuse,
): (tokens: readonly string[]) => string {
  if (!isRecord(config)) return (tokens) => tokens.join(' ');
  const step = makeStep(config, refuse);
  return (tokens) => step(tokens).join('');
}
