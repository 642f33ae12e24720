/**
 * Reads tokenizer.json with @huggingface/tokenizers, with the same results as Python's tokenizers.
 * The file's settings for padding and truncation are ignored: rows are not padded, and are cut
 * longest-first to the requested length.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { UserFault } from '../../api.ts';
import { isRecord, readJsonFile, readTextFile } from '../../untrusted/json.ts';
import { withinSeconds } from '../../untrusted/time.ts';
import type { TokenRow } from '../model/types.ts';
import { type Chat, chatRenderer, templateOf } from './chat-template.ts';
import { cleanUp, decoderOf } from './decoder.ts';
import { specialTokens } from './special-tokens.ts';
import { checkTokenizer } from './tokenizer-bounds.ts';

/** The ids of the tokens that tokenizer_config.json names; null where it names none. */
export interface SpecialIds {
  /** Begins a sequence. */
  readonly bos: number | null;
  /** Ends a sequence: an answer ends with it, and generation stops at it. */
  readonly eos: number | null;
  readonly pad: number | null;
  readonly unk: number | null;
  /** Every special token, those of tokenizer.json included. */
  readonly all: ReadonlySet<number>;
}

export interface TextTokenizer {
  /** One more than the highest token id. */
  readonly vocabularySize: number;
  /** The token for unknown words; null where there is none. */
  readonly unknown: string | null;
  /** The token that a masked language model fills in; null where there is none. */
  readonly mask: string | null;
  readonly special: SpecialIds;
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
  /**
   * The text of token ids, as the fast tokenizers of transformers decode them: joined by the
   * decoder of tokenizer.json, then cleaned up if `clean_up_tokenization_spaces` of
   * tokenizer_config.json says so (never for BPE). Ids of no token are left out.
   * @param options `skipSpecial` leaves special tokens out; they are kept by default
   */
  readonly decode: (ids: Iterable<number>, options?: { readonly skipSpecial?: boolean }) => string;
  /**
   * The text of a conversation under the tokenizer's chat template. Throws UserFault where there is
   * no template, or it fails.
   */
  readonly chat: Chat;
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
const addedTokens = (json: unknown): readonly AddedToken[] =>
  (json as { added_tokens?: readonly AddedToken[] | null }).added_tokens ?? [];

interface AddedToken {
  readonly content: string;
  readonly id: number;
  readonly special?: unknown;
}

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

/** What else a checkpoint's folder may hold for its tokenizer. */
export interface FilesBeside {
  /** The parsed special_tokens_map.json, which names tokens that tokenizer_config.json doesn't. */
  readonly specialTokensMap?: unknown;
  /** The text of chat_template.jinja, which replaces the template of tokenizer_config.json. */
  readonly chatTemplate?: string;
}

/**
 * Makes a tokenizer from the parsed tokenizer.json and tokenizer_config.json. Throws UserFault
 * where they do not describe one or exceed a bound (`checkTokenizer`); the tokenizer throws it
 * where it fails on a text or takes too long.
 * @param name the file's name in error messages
 */
export function makeTokenizer(
  json: unknown,
  config: unknown,
  name: string,
  beside: FilesBeside = {},
): TextTokenizer {
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
  const named = specialTokens(config, beside.specialTokensMap, name);
  const specialIds = new Set<number>(
    addedTokens(json)
      .filter(({ special }) => special === true)
      .map(({ id }) => id),
  );
  const idOrNull = (key: string): number | null => {
    const token = named[key];
    return token === undefined ? null : (tokenizer.token_to_id(token) ?? null);
  };
  for (const token of Object.values(named)) {
    const id = tokenizer.token_to_id(token);
    if (id !== undefined) specialIds.add(id);
  }
  const joined = decoderOf((json as { decoder?: unknown }).decoder, name);
  const cleans =
    (config as { clean_up_tokenization_spaces?: unknown }).clean_up_tokenization_spaces === true &&
    (json as { model: { type?: unknown } }).model.type !== 'BPE';
  const template = beside.chatTemplate ?? templateOf(config['chat_template'], name);
  let highest = -1;
  for (const id of tokenizer.get_vocab().values()) highest = Math.max(highest, id);
  return {
    vocabularySize: highest + 1,
    unknown,
    mask: maskToken(json, config),
    special: {
      bos: idOrNull('bos_token'),
      eos: idOrNull('eos_token'),
      pad: idOrNull('pad_token'),
      unk: idOrNull('unk_token'),
      all: specialIds,
    },
    decode: (ids, { skipSpecial = false } = {}) => {
      const tokens = [...ids]
        .filter((id) => !skipSpecial || !specialIds.has(id))
        .map((id) => tokenizer.id_to_token(id))
        .filter((token) => token !== undefined);
      const text = joined(tokens);
      return cleans ? cleanUp(text) : text;
    },
    chat: chatOf(template, named, name),
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

const chatOf = (
  template: string | null,
  specials: Readonly<Record<string, string>>,
  name: string,
): Chat => {
  let render: Chat | undefined;
  return (messages, options) => {
    if (template === null)
      throw new UserFault(
        `${name}: the tokenizer has no chat template`,
        'Choose the checkpoint of a chat model, write its template to chat_template.jinja beside ' +
          'tokenizer.json, or set head.template to "alpaca" or to a text that contains {prompt}.',
      );
    return (render ??= chatRenderer(template, specials, name))(messages, options);
  };
};

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
  const path = join(dir, 'tokenizer.json');
  const beside = async (file: string): Promise<unknown> => {
    const other = join(dir, file);
    return existsSync(other) ? parsed(other) : undefined;
  };
  const template = join(dir, 'chat_template.jinja');
  return makeTokenizer(await parsed(path), (await beside('tokenizer_config.json')) ?? {}, path, {
    specialTokensMap: await beside('special_tokens_map.json'),
    ...(existsSync(template) ? { chatTemplate: await readTextFile(template) } : {}),
  });
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
