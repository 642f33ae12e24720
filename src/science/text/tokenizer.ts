/**
 * tokenizer.json by @huggingface/tokenizers, as Python's tokenizers reads it. Padding and truncation that the file fixes
 * are ignored: rows come unpadded, cut longest-first at the length asked for.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { UserFault } from '../../api.ts';
import { isRecord, readJsonFile } from '../../untrusted/json.ts';
import { withinSeconds } from '../../untrusted/time.ts';
import type { TokenRow } from '../nn/types.ts';
import { checkTokenizer } from './tokenizer-bounds.ts';

export interface TextTokenizer {
  /** One more than the highest token id. */
  readonly vocabularySize: number;
  /** What stands for words that it doesn't know, and what masked language models fill in. */
  readonly unknown: string | null;
  readonly mask: string | null;
  /** A text's tokens, no special ones around. */
  tokens(text: string): string[];
  /** Throws UserFault where a token is foreign and there is none for the unknown. */
  id(token: string): number;
  /** Special tokens around those of one text. */
  wrap(tokens: readonly string[]): string[];
  /**
   * How many of a row's tokens stay when it is cut to maxLength tokens, special ones included: of `first` of the text, and
   * of `second` of its pair (null for a single text), longest-first.
   */
  keep(first: number, second: number | null, maxLength: number): [number, number];
  /** Special tokens included, maxLength tokens at most. */
  encode(text: string, pair: string | undefined, maxLength: number): TokenRow;
}

/**
 * How many tokens of each part stay (tokenizers' TruncationStrategy::LongestFirst): the longer part is cut to the
 * shorter one's length first, then both alike. `room` excludes special tokens.
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

// Ideographs beyond the basic plane, which tokenizers sets apart (these very ranges) and the library, going by UTF-16 units, does not.
const RARE_IDEOGRAPH =
  /[\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\u{2F800}-\u{2FA1F}]/gu;

interface Normaliser {
  readonly type?: string;
  readonly lowercase?: boolean;
  readonly handle_chinese_chars?: boolean;
}

/** Where the library's BertNormalizer departs from the reference, the text is brought to what both read alike. */
function reconcile(text: string, normaliser: Normaliser | null): string {
  if (normaliser?.type !== 'BertNormalizer') return text;
  let out = text;
  if (normaliser.lowercase === true) out = out.replaceAll('Σ', 'σ'); // JavaScript's lower case writes ς at a word's end
  if (normaliser.handle_chinese_chars === true) out = out.replace(RARE_IDEOGRAPH, ' $& ');
  return out;
}

/** Shape already checked by `checkTokenizer`. */
const addedTokens = (json: unknown): readonly { readonly content: string }[] =>
  (json as { added_tokens?: readonly { content: string }[] | null }).added_tokens ?? [];

/** By tokenizer_config.json, else by the names that BERT and RoBERTa give it. */
function maskToken(json: unknown, config: object): string | null {
  const named = (config as { mask_token?: string | { content?: string } | null }).mask_token;
  if (typeof named === 'string') return named;
  if (typeof named?.content === 'string') return named.content;
  return (
    addedTokens(json).find(({ content }) => content === '[MASK]' || content === '<mask>')
      ?.content ?? null
  );
}

/** For one text: a few words, or some pages of them. */
const TEXT_SECONDS = 10;
/** For all texts together: a minute, and more only at this many characters a second (real ones read a million). */
const ALL_SECONDS = 60,
  SLOWEST = 50_000;

/**
 * Makes a tokenizer from tokenizer.json's and tokenizer_config.json's parsed content; `name` stands in errors.
 * Throws UserFault where it is not one, is out of bounds (`checkTokenizer`), or fails on a text or takes too long for it.
 */
export function makeTokenizer(json: unknown, config: unknown, name: string): TextTokenizer {
  const { linear } = checkTokenizer(json, name);
  if (!isRecord(config)) throw new UserFault(`${name}: its tokenizer_config.json is not an object`);
  /** A part that the library knows may still hold what it does not expect, and an expression may take for ever. */
  const guarded = <T>(work: () => T): T => {
    try {
      return linear
        ? work()
        : withinSeconds(
            TEXT_SECONDS,
            () =>
              `${name}: it takes more than ${TEXT_SECONDS} s for one text; its regular expressions may be made so`,
            work,
          );
    } catch (error) {
      if ((error as Error).name === 'UserFault') throw error;
      throw new UserFault(
        `${name} is no tokenizer that is read here: ${(error as Error).message.slice(0, 200)}`,
      );
    }
  };
  const tokenizer = guarded(
    () => new Tokenizer({ ...(json as object), added_tokens: addedTokens(json) }, { ...config }),
  );
  const normaliser = (json as { normalizer?: Normaliser | null }).normalizer ?? null;
  const post = tokenizer.post_processor;
  // Through the library without its post-processor: truncation comes between the two.
  let spent = 0,
    characters = 0;
  const pieces = (text: string): string[] => {
    const start = performance.now();
    const tokens = guarded(() =>
      tokenizer.tokenize(reconcile(text, normaliser), { add_special_tokens: false }),
    );
    spent += (performance.now() - start) / 1000;
    characters += text.length;
    if (!linear && spent > ALL_SECONDS + characters / SLOWEST)
      throw new UserFault(
        `${name}: it took ${Math.round(spent)} s for ${characters} characters; its regular expressions may be made so`,
      );
    return tokens;
  };
  const assemble = (
    first: string[],
    second: string[] | null,
  ): { tokens: string[]; types: number[] } => {
    if (post === null)
      return {
        tokens: second === null ? first : [...first, ...second],
        types: new Array<number>(first.length + (second?.length ?? 0)).fill(0),
      };
    const { tokens, token_type_ids: types } = guarded(() => post.post_process(first, second, true));
    return { tokens, types: types ?? new Array<number>(tokens.length).fill(0) };
  };
  const specials = assemble([], null).tokens.length,
    pairSpecials = assemble([], []).tokens.length;
  const unknown = (json as { model?: { unk_token?: string | null } }).model?.unk_token ?? null;
  const unknownId = unknown === null ? undefined : tokenizer.token_to_id(unknown);
  const idOf = (token: string): number => {
    const id = tokenizer.token_to_id(token) ?? unknownId;
    if (id === undefined)
      throw new UserFault(
        `${name}: "${token}" is not in the vocabulary, and there is no token for the unknown`,
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

/** A checkpoint folder's tokenizer. Throws UserFault where tokenizer.json is missing or not understood. */
export async function openTokenizer(dir: string): Promise<TextTokenizer> {
  const path = join(dir, 'tokenizer.json'),
    configPath = join(dir, 'tokenizer_config.json');
  return makeTokenizer(
    await parsed(path),
    existsSync(configPath) ? await parsed(configPath) : {},
    path,
  );
}

/** Throws UserFault where the tokenizer makes ids that the model has no embedding for. */
export function checkVocabulary(
  tokenizer: TextTokenizer,
  modelVocabulary: number,
  dir: string,
): void {
  if (tokenizer.vocabularySize > modelVocabulary) {
    throw new UserFault(
      `${dir}: tokenizer.json has ids up to ${tokenizer.vocabularySize - 1}, but config.json's vocab_size is ${modelVocabulary}: they belong to different models`,
    );
  }
}
