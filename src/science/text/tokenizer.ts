/**
 * Reads tokenizer.json with @huggingface/tokenizers, with the same results as Python's tokenizers.
 * The file's settings for padding and truncation are ignored: rows are not padded, and are cut
 * longest-first to the requested length.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { UserFault } from '../../api.ts';
import { isRecord, readJsonFile } from '../../untrusted/json.ts';
import { withinSeconds } from '../../untrusted/time.ts';
import type { TokenRow } from '../model/types.ts';
import { checkTokenizer } from './tokenizer-bounds.ts';

export interface TextTokenizer {
  /** One more than the highest token id. */
  readonly vocabularySize: number;
  /** The token for unknown words; null where there is none. */
  readonly unknown: string | null;
  /** The token that a masked language model fills in; null where there is none. */
  readonly mask: string | null;
  /** The tokens of a text, without special tokens. */
  readonly tokens: (text: string) => string[];
  /**
   * The id of a token. Throws UserFault where it is not in the vocabulary and there is no token for
   * unknown words.
   */
  readonly id: (token: string) => number;
  /** The tokens of one text with special tokens around them. */
  readonly wrap: (tokens: readonly string[]) => string[];
  /**
   * How many tokens of a row are kept when it is cut, longest-first, to `maxLength` tokens
   * including special ones.
   * @param first number of tokens of the text
   * @param second number of tokens of its pair; null for a single text
   */
  readonly keep: (first: number, second: number | null, maxLength: number) => [number, number];
  /** The token ids of a row with special tokens, at most `maxLength` of them. */
  readonly encode: (text: string, pair: string | undefined, maxLength: number) => TokenRow;
}

/**
 * How many tokens of each part are kept (TruncationStrategy::LongestFirst of tokenizers): the
 * longer part is cut to the length of the shorter one first, then both equally. `room` excludes
 * special tokens.
 */
export function longestFirst(first: number, second: number, room: number): [number, number] {
  if (first + second <= room) return [first, second];
  const swap = first > second;
  let short = swap ? second : first;
  let long = short > room ? short : Math.max(short, room - short);
  if (short + long > room) {
    short = Math.floor(room / 2);
    long = short + (room % 2);
  }
  return swap ? [long, short] : [short, long];
}

// Ideographs beyond the basic plane, in exactly these ranges, are separated by Python's tokenizers
// but not by the library, which goes by UTF-16 units.
const RARE_IDEOGRAPH =
  /[\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\u{2F800}-\u{2FA1F}]/gu;

interface Normaliser {
  readonly type?: string;
  readonly lowercase?: boolean;
  readonly handle_chinese_chars?: boolean;
}

/**
 * Changes a text so that the library's BertNormalizer, which departs from Python's, gives the same
 * result.
 */
function reconcile(text: string, normaliser: Normaliser | null): string {
  if (normaliser?.type !== 'BertNormalizer') return text;
  let out = text;
  // JavaScript's toLowerCase writes ς at the end of a word.
  if (normaliser.lowercase === true) out = out.replaceAll('Σ', 'σ');
  if (normaliser.handle_chinese_chars === true) out = out.replace(RARE_IDEOGRAPH, ' $& ');
  return out;
}

/** The added tokens, whose form `checkTokenizer` has checked. */
const addedTokens = (json: unknown): readonly { readonly content: string }[] =>
  (json as { added_tokens?: readonly { content: string }[] | null }).added_tokens ?? [];

/**
 * The mask token as tokenizer_config.json names it, else the one that BERT or RoBERTa uses; null
 * where there is none.
 */
function maskToken(json: unknown, config: object): string | null {
  const named = (config as { mask_token?: string | { content?: string } | null }).mask_token;
  if (typeof named === 'string') return named;
  if (typeof named?.content === 'string') return named.content;
  return (
    addedTokens(json).find(({ content }) => content === '[MASK]' || content === '<mask>')
      ?.content ?? null
  );
}

/** Time limit for one text, of a few words or a few pages. */
const TEXT_SECONDS = 10;
/**
 * Time limit for all texts together: a minute, plus one second for each SLOWEST characters. Real
 * tokenizers read a million characters a second.
 */
const ALL_SECONDS = 60,
  SLOWEST = 50_000;

/** Runs a call of the library within the time limit, and turns its errors into a UserFault. */
type Guard = <T>(work: () => T) => T;

/**
 * A part of a known type may still contain what the library does not expect, and a regular
 * expression may take forever.
 */
const guardOf =
  (name: string, linear: boolean): Guard =>
  (work) => {
    try {
      return linear
        ? work()
        : withinSeconds(
            TEXT_SECONDS,
            () =>
              `${name}: it takes more than ${TEXT_SECONDS} s for one text; ` +
              'its regular expressions may be malicious',
            work,
          );
    } catch (error) {
      if ((error as Error).name === 'UserFault') throw error;
      throw new UserFault(
        `${name} is not a tokenizer that can be read: ${(error as Error).message.slice(0, 200)}`,
      );
    }
  };

/** Throws where a tokenizer takes too long for all of its texts together. */
function timed(name: string, tokenize: (text: string) => string[]): (text: string) => string[] {
  let spent = 0,
    characters = 0;
  return (text) => {
    const start = performance.now();
    const tokens = tokenize(text);
    spent += (performance.now() - start) / 1000;
    characters += text.length;
    if (spent > ALL_SECONDS + characters / SLOWEST)
      throw new UserFault(
        `${name}: splitting ${characters} characters into tokens took ${Math.round(spent)} s; ` +
          'its regular expressions may be malicious',
      );
    return tokens;
  };
}

/** Puts the special tokens around one or two texts. */
type Assemble = (
  first: string[],
  second: string[] | null,
) => { readonly tokens: string[]; readonly types: number[] };

function assembler(post: Tokenizer['post_processor'], guarded: Guard): Assemble {
  return (first, second) => {
    if (post === null)
      return {
        tokens: second === null ? first : [...first, ...second],
        types: new Array<number>(first.length + (second?.length ?? 0)).fill(0),
      };
    const { tokens, token_type_ids: types } = guarded(() => post.post_process(first, second, true));
    return { tokens, types: types ?? new Array<number>(tokens.length).fill(0) };
  };
}

/**
 * Makes a tokenizer from the parsed tokenizer.json and tokenizer_config.json. Throws UserFault
 * where they do not describe one or exceed a bound (`checkTokenizer`); the tokenizer throws it
 * where it fails on a text or takes too long.
 * @param name the file's name in error messages
 */
export function makeTokenizer(json: unknown, config: unknown, name: string): TextTokenizer {
  const { linear } = checkTokenizer(json, name);
  if (!isRecord(config)) throw new UserFault(`${name}: its tokenizer_config.json is not an object`);
  const guarded = guardOf(name, linear);
  const tokenizer = guarded(
    () => new Tokenizer({ ...(json as object), added_tokens: addedTokens(json) }, { ...config }),
  );
  const normaliser = (json as { normalizer?: Normaliser | null }).normalizer ?? null;
  // The post-processor is not run here, since truncation comes before it.
  const tokenize = (text: string): string[] =>
    guarded(() => tokenizer.tokenize(reconcile(text, normaliser), { add_special_tokens: false }));
  const pieces = linear ? tokenize : timed(name, tokenize);
  const assemble = assembler(tokenizer.post_processor, guarded);
  const specials = assemble([], null).tokens.length,
    pairSpecials = assemble([], []).tokens.length;
  const unknown = (json as { model?: { unk_token?: string | null } }).model?.unk_token ?? null;
  const unknownId = unknown === null ? undefined : tokenizer.token_to_id(unknown);
  const idOf = (token: string): number => {
    const id = tokenizer.token_to_id(token) ?? unknownId;
    if (id === undefined)
      throw new UserFault(
        `${name}: "${token}" is not in the vocabulary, and there is no token for unknown words`,
      );
    return id;
  };
  const keep = (first: number, second: number | null, maxLength: number): [number, number] =>
    second === null
      ? [Math.min(first, maxLength - specials), 0]
      : longestFirst(first, second, maxLength - pairSpecials);
  let highest = -1;
  for (const id of tokenizer.get_vocab().values()) highest = Math.max(highest, id);
  return {
    vocabularySize: highest + 1,
    unknown,
    mask: maskToken(json, config),
    tokens: pieces,
    id: idOf,
    wrap: (tokens) => assemble([...tokens], null).tokens,
    keep,
    encode: (text, pair, maxLength) => {
      const first = pieces(text),
        second = pair === undefined ? null : pieces(pair);
      const [keepFirst, keepSecond] = keep(first.length, second?.length ?? null, maxLength);
      const { tokens, types } = assemble(
        first.slice(0, keepFirst),
        second === null ? null : second.slice(0, keepSecond),
      );
      return { ids: Int32Array.from(tokens, idOf), typeIds: Int32Array.from(types) };
    },
  };
}

const parsed = (path: string): Promise<unknown> =>
  readJsonFile(
    path,
    'A checkpoint folder holds config.json, model.safetensors and tokenizer.json.',
  );

/**
 * Opens the tokenizer of a checkpoint's folder. Throws UserFault where tokenizer.json is missing or
 * cannot be read.
 */
export async function openTokenizer(dir: string): Promise<TextTokenizer> {
  const path = join(dir, 'tokenizer.json'),
    configPath = join(dir, 'tokenizer_config.json');
  return makeTokenizer(
    await parsed(path),
    existsSync(configPath) ? await parsed(configPath) : {},
    path,
  );
}

/** Throws UserFault where the tokenizer has ids for which the model has no embedding. */
export function checkVocabulary(
  tokenizer: TextTokenizer,
  modelVocabulary: number,
  dir: string,
): void {
  if (tokenizer.vocabularySize > modelVocabulary) {
    throw new UserFault(
      `${dir}: tokenizer.json has ids up to ${tokenizer.vocabularySize - 1}, ` +
        `but config.json's vocab_size is ${modelVocabulary}: they belong to different models`,
    );
  }
}
