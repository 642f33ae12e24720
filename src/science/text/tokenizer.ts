/**
 * Reads tokenizer.json. The results are those of Python's tokenizers, except that the file's
 * padding and truncation are ignored: rows are not padded, and are cut longest-first to the
 * requested length.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { UserFault } from '../../api.ts';
import { isRecord, readJsonFile, readTextFile, shown } from '../../base/untrusted/json.ts';
import { withinSeconds } from '../../base/untrusted/limits.ts';
import type { TokenRow } from '../models/types.ts';
import { type Chat, chatRenderer, readTemplate } from './chat-template.ts';
import { checkTokenizer } from './tokenizer/bounds.ts';
import { cleanUp } from './tokenizer/decoder.ts';
import { makePipeline } from './tokenizer/pipeline.ts';

/** The names of the special tokens that every tokenizer of transformers knows, in its order. */
const NAMES = ['bos', 'eos', 'unk', 'sep', 'pad', 'cls', 'mask'].map((name) => `${name}_token`);

interface SpecialTokens {
  /** The tokens by their names (`eos_token`, `image_token`). */
  readonly names: Readonly<Record<string, string>>;
  /** All special tokens as the files have them: texts, or objects with settings. */
  readonly values: readonly unknown[];
}

/**
 * Returns the text of a token, which a file has as a text or as the `content` of an object. Any
 * other value is returned as it is.
 */
const tokenContent = (value: unknown): unknown => (isRecord(value) ? value['content'] : value);

/**
 * Returns the special tokens that the files name, as the fast tokenizers of transformers 5 read
 * them: special_tokens_map.json (`map`) wins over tokenizer_config.json (`config`), but is only
 * read where `config` has no `added_tokens_decoder`. Throws UserFault for a name without a token.
 */
function specialTokens(config: unknown, map: unknown, name: string): SpecialTokens {
  const settings: Record<string, unknown> = { ...(isRecord(config) ? config : {}) };
  if (!('added_tokens_decoder' in settings) && isRecord(map)) Object.assign(settings, map);
  const names: Record<string, string> = {},
    values: unknown[] = [];
  /** Adds a token with its name. Throws UserFault if `value` is no token. */
  const add = (key: string, value: unknown): void => {
    const content = tokenContent(value);
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

/** The ids of the tokens that the tokenizer's files name; null for one that they do not name. */
export interface SpecialIds {
  readonly bos: number | null;
  /** Ends a sequence: an answer ends with it, and generation stops at it. */
  readonly eos: number | null;
  readonly pad: number | null;
  readonly unk: number | null;
  /** All special tokens: those that the files name, and those that the files mark as special. */
  readonly all: ReadonlySet<number>;
}

export interface TextTokenizer {
  /** One more than the highest token id. */
  readonly vocabularySize: number;
  /** The token for unknown words; null where there is none. */
  readonly unknown: string | null;
  /**
   * The mask token: the one that the files name, else an added token `[MASK]` or `<mask>`; null
   * where there is none.
   */
  readonly mask: string | null;
  readonly special: SpecialIds;
  /** Whether a word has the same tokens wherever it stands in a text (WordPiece). */
  readonly byWords: boolean;
  /** The token ids of a text, without special tokens around them. */
  readonly ids: (text: string) => number[];
  /**
   * The tokens of a text, without special tokens around them; `#ID` for an id that has no token.
   */
  readonly tokens: (text: string) => string[];
  /**
   * Returns the id of a token, or of the token for unknown words if the vocabulary lacks it. Throws
   * UserFault where there is neither.
   */
  readonly id: (token: string) => number;
  /** The ids of the special tokens around one text. */
  readonly edges: { readonly before: readonly number[]; readonly after: readonly number[] };
  /** The tokens of one text with special tokens around them. */
  readonly wrap: (tokens: readonly string[]) => string[];
  /**
   * Returns how many tokens of a text and of its pair are kept when a row is cut, longest-first, to
   * `maxLength` tokens including special ones. `first` and `second` are their numbers of tokens.
   * @param second null for a single text; the second number returned is then 0
   */
  readonly keep: (first: number, second: number | null, maxLength: number) => [number, number];
  readonly encode: (text: string, pair: string | undefined, maxLength: number) => TokenRow;
  /**
   * Returns the text of token ids, as transformers' fast tokenizers decode them. It is cleaned up
   * if `clean_up_tokenization_spaces` says so (never for BPE). Ids without a token are left out.
   */
  readonly decode: (ids: Iterable<number>, options?: { readonly skipSpecial?: boolean }) => string;
  /** Throws UserFault where there is no chat template, or it fails. */
  readonly chat: Chat;
}

/**
 * Returns how many tokens of each part are kept (TruncationStrategy::LongestFirst of tokenizers):
 * the longer part is cut to the length of the shorter one first, then both equally. `room` excludes
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

/** Time limit for one text, which has from a few words to a few pages. */
const TEXT_SECONDS = 10;
/**
 * Time limit for all texts together: ALL_SECONDS, and one second more for each SLOWEST characters.
 * Real tokenizers read a million characters a second.
 */
const ALL_SECONDS = 60,
  SLOWEST = 50_000;

/**
 * Returns the result of a tokenizer's `work`, and turns its errors into a UserFault. The
 * tokenizer's files may hold what the library does not expect, or a regular expression that takes
 * forever.
 * @param linear whether the time of `work` is linear in a text's length: then it has no limit
 */
function guarded<T>(name: string, linear: boolean, work: () => T): T {
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
}

/**
 * Returns `tokenize` with a limit on the time of all its calls together, beyond which it throws
 * UserFault.
 */
function withLimit(name: string, tokenize: (text: string) => number[]): (text: string) => number[] {
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

/**
 * Makes the tokenizer that the files describe. Throws UserFault where they describe none or exceed
 * a bound (`checkTokenizer`). The tokenizer throws it where it fails on a text or takes too long.
 * @param json the parsed tokenizer.json, called `name` in messages
 * @param config the parsed tokenizer_config.json
 * @param beside the parsed special_tokens_map.json (see `specialTokens`), and the text of
 *   chat_template.jinja, which replaces the template of `config`
 */
export function makeTokenizer(
  json: unknown,
  config: unknown,
  name: string,
  beside: {
    readonly specialTokensMap?: unknown;
    readonly chatTemplate?: string | undefined;
  } = {},
): TextTokenizer {
  const { linear } = checkTokenizer(json, name);
  if (!isRecord(json) || !isRecord(config))
    throw new UserFault(`${name}: its tokenizer_config.json is not an object`);
  const { names, values } = specialTokens(config, beside.specialTokensMap, name);
  const pipeline = guarded(name, linear, () => makePipeline(json, config, values, name));
  const guardedIds = (text: string): number[] => guarded(name, linear, () => pipeline.ids(text));
  const ids = linear ? guardedIds : withLimit(name, guardedIds);
  const { assemble } = pipeline;
  // −1 stands for the text.
  const around = assemble([-1], null).ids,
    pairSpecials = assemble([], []).ids.length;
  const edges = {
    before: around.slice(0, around.indexOf(-1)),
    after: around.slice(around.indexOf(-1) + 1),
  };
  const specials = around.length - 1;
  const unknownId = pipeline.unknown === null ? undefined : pipeline.idOf(pipeline.unknown);
  const idOf = (token: string): number => {
    const id = pipeline.idOf(token) ?? unknownId;
    if (id === undefined)
      throw new UserFault(
        `${name}: "${token}" is not in the vocabulary, and there is no token for unknown words`,
      );
    return id;
  };
  const tokenOf = (id: number): string => pipeline.tokenOf(id) ?? `#${id}`;
  const keep = (first: number, second: number | null, maxLength: number): [number, number] =>
    second === null
      ? [Math.min(first, maxLength - specials), 0]
      : longestFirst(first, second, maxLength - pairSpecials);
  /** Returns the id of the special token of this name; null where the files do not name it. */
  const idOfSpecial = (key: string): number | null =>
    names[key] === undefined ? null : idOf(names[key]);
  const specialIds = new Set(pipeline.added.filter((token) => token.special).map(({ id }) => id));
  const cleans = config['clean_up_tokenization_spaces'] === true && pipeline.type !== 'BPE';
  return {
    vocabularySize: pipeline.size,
    unknown: pipeline.unknown,
    mask:
      names['mask_token'] ??
      pipeline.added.find(({ content }) => content === '[MASK]' || content === '<mask>')?.content ??
      null,
    special: {
      bos: idOfSpecial('bos_token'),
      eos: idOfSpecial('eos_token'),
      pad: idOfSpecial('pad_token'),
      unk: idOfSpecial('unk_token'),
      all: specialIds,
    },
    byWords: pipeline.type === 'WordPiece',
    ids,
    tokens: (text) => ids(text).map(tokenOf),
    id: idOf,
    edges,
    wrap: (tokens) => assemble(tokens.map(idOf), null).ids.map(tokenOf),
    keep,
    encode: (text, pair, maxLength) => {
      const first = ids(text),
        second = pair === undefined ? null : ids(pair);
      const [keepFirst, keepSecond] = keep(first.length, second?.length ?? null, maxLength);
      const row = assemble(first.slice(0, keepFirst), second?.slice(0, keepSecond) ?? null);
      return { ids: Int32Array.from(row.ids), typeIds: Int32Array.from(row.types) };
    },
    decode: (tokenIds, { skipSpecial = false } = {}) => {
      const tokens = Array.from(tokenIds)
        .filter((id) => !skipSpecial || !specialIds.has(id))
        .map(pipeline.tokenOf)
        .filter((token) => token !== undefined);
      const text = guarded(name, linear, () => pipeline.join(tokens));
      return cleans ? cleanUp(text) : text;
    },
    chat: makeChat(config['chat_template'], beside.chatTemplate, names, name),
  };
}

/**
 * Returns the function that writes a conversation by the chat template. The function throws
 * UserFault if there is no template; `makeChat` does if `configured` is used and is no template.
 * @param configured the field `chat_template` of tokenizer_config.json
 * @param own the text of chat_template.jinja, which replaces `configured`; undefined if absent
 */
const makeChat = (
  configured: unknown,
  own: string | undefined,
  specials: Readonly<Record<string, string>>,
  name: string,
): Chat => {
  const file = own === undefined ? 'tokenizer_config.json' : 'chat_template.jinja';
  const where = join(dirname(name), file);
  const template = own ?? readTemplate(configured, where);
  let render: Chat | undefined;
  return (messages, options) => {
    if (template === null)
      throw new UserFault(
        `${name}: the tokenizer has no chat template`,
        'Choose the checkpoint of a chat model, write its template to chat_template.jinja beside ' +
          'tokenizer.json, or set head.template to "alpaca" or to a text that contains {prompt}.',
      );
    return (render ??= chatRenderer(template, specials, where))(messages, options);
  };
};

/** Reads a JSON file of a checkpoint folder. Throws UserFault if it can't be read. */
const load = (path: string): Promise<unknown> =>
  readJsonFile(
    path,
    'A checkpoint folder holds config.json, model.safetensors and tokenizer.json.',
  );

/** Opens a folder's tokenizer. Throws UserFault where it is missing or cannot be read. */
export async function openTokenizer(dir: string): Promise<TextTokenizer> {
  const path = join(dir, 'tokenizer.json');
  /** Reads another JSON file of the folder; undefined if it is absent. */
  const beside = async (file: string): Promise<unknown> => {
    const other = join(dir, file);
    return existsSync(other) ? load(other) : undefined;
  };
  const template = join(dir, 'chat_template.jinja');
  return makeTokenizer(await load(path), (await beside('tokenizer_config.json')) ?? {}, path, {
    specialTokensMap: await beside('special_tokens_map.json'),
    chatTemplate: existsSync(template) ? await readTextFile(template) : undefined,
  });
}

/** Throws UserFault where the tokenizer has ids for which the model has no embedding. */
export function checkVocabulary(
  { vocabularySize }: TextTokenizer,
  modelVocabulary: number,
  dir: string,
): void {
  if (vocabularySize > modelVocabulary)
    throw new UserFault(
      `${dir}: tokenizer.json has ids up to ${vocabularySize - 1}, ` +
        `but config.json's vocab_size is ${modelVocabulary}: they belong to different models`,
    );
}
