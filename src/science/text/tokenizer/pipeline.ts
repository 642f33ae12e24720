/**
 * The steps that tokenizer.json describes, put together as Python's tokenizers do. Added tokens are
 * found in a text; the rest is normalised, split and encoded by the model; special tokens are put
 * around one or two texts. The way back makes a text of tokens.
 */
import { WordPiece } from '@huggingface/tokenizers';
import { UserFault } from '../../../api.ts';
import { isRecord, shown } from '../../../base/untrusted/json.ts';
import { type AddedToken, addedTokens, sectioner } from './added-tokens.ts';
import { bpe, type MakeModel, pieces, unigram } from './bpe.ts';
import { makeDecoder } from './decoder.ts';
import type { Config, Refuse } from './expression.ts';
import { makeNormalizer, mayCutStart } from './normalizer.ts';
import { asksForFirst, makePreTokenizer } from './pre-tokenizer.ts';

interface Assembled {
  readonly ids: readonly number[];
  readonly types: readonly number[];
}
/** Puts special tokens around one text or, if `second` is not null, around two. */
type Assemble = (first: readonly number[], second: readonly number[] | null) => Assembled;

/**
 * A part of a template: ids of special tokens, or one of the texts; with the token type of its ids.
 */
interface Part {
  readonly ids: readonly number[] | 'first' | 'second';
  readonly type: number;
}

const assembleBy =
  (single: readonly Part[], pair: readonly Part[]): Assemble =>
  (first, second) => {
    const ids: number[] = [],
      types: number[] = [];
    for (const part of second === null ? single : pair) {
      const own = part.ids === 'first' ? first : part.ids === 'second' ? (second ?? []) : part.ids;
      for (const id of own) {
        ids.push(id);
        types.push(part.type);
      }
    }
    return { ids, types };
  };

const A: Part = { ids: 'first', type: 0 };
const B = (type: number): Part => ({ ids: 'second', type });

/**
 * Returns what BERT and RoBERTa write around texts A and B. BERT: `cls A sep`, and for a pair `cls
 * A sep B sep`, where B and the sep after it have type 1. RoBERTa has a second sep before B, and
 * type 0 throughout.
 */
function clsSepAssembler(config: Config, refuse: Refuse): Assemble {
  /** Returns the special token that a field names: a pair of its text and its id. */
  const part = (field: string, type: number): Part => {
    const value = config[field];
    const id: unknown = Array.isArray(value) ? value[1] : undefined;
    if (!isId(id)) throw refuse(`a post_processor with the ${field} ${shown(value)}`);
    return { ids: [id], type };
  };
  const cls = part('cls', 0),
    sep = part('sep', 0),
    roberta = config['type'] === 'RobertaProcessing',
    type = roberta ? 0 : 1;
  const pair = [cls, A, sep, ...(roberta ? [sep] : []), B(type), part('sep', type)];
  return assembleBy([cls, A, sep], pair);
}

/** Whether a value is a whole number from 0 on, as ids and token types are. */
const isId = (id: unknown): id is number =>
  typeof id === 'number' && Number.isInteger(id) && id >= 0;

/**
 * Returns what the two templates of a TemplateProcessing write. Throws the fault of `refuse` for a
 * template that can't be read.
 */
function templateAssembler(config: Config, refuse: Refuse): Assemble {
  const specials = config['special_tokens'];
  const readPart = (item: unknown): Part => {
    const [kind, value] = isRecord(item) ? (Object.entries(item)[0] ?? []) : [];
    const id = isRecord(value) ? value['id'] : undefined,
      type = isRecord(value) ? (value['type_id'] ?? 0) : undefined;
    if (isId(type) && kind === 'Sequence' && (id === 'A' || id === 'B'))
      return { ids: id === 'A' ? 'first' : 'second', type };
    if (isId(type) && kind === 'SpecialToken' && typeof id === 'string' && isRecord(specials)) {
      const special = Object.hasOwn(specials, id) ? specials[id] : undefined;
      const ids: unknown = isRecord(special) ? special['ids'] : undefined;
      if (Array.isArray(ids) && ids.every(isId)) return { ids, type };
    }
    throw refuse(`a post_processor with ${shown(item)} in its template`);
  };
  const parts = (field: string): Part[] => {
    const list = config[field];
    if (!Array.isArray(list)) throw refuse(`a post_processor with the ${field} ${shown(list)}`);
    return list.map(readPart);
  };
  return assembleBy(parts('single'), parts('pair'));
}

/**
 * Returns the steps of a post-processor that add tokens. ByteLevel is left out: it only moves
 * offsets.
 */
const addingSteps = (config: unknown): Config[] => {
  if (!isRecord(config) || config['type'] === 'ByteLevel') return [];
  const inner = config['processors'];
  return config['type'] === 'Sequence' && Array.isArray(inner)
    ? inner.flatMap(addingSteps)
    : [config];
};

/**
 * Returns the function that adds special tokens. Without a post-processor it adds none, and a
 * second text has type 1.
 */
function assembler(config: unknown, refuse: Refuse): Assemble {
  const [step, ...more] = addingSteps(config);
  if (step === undefined) return assembleBy([A], [A, B(1)]);
  if (more.length > 0) throw refuse('a post_processor of more than one step that adds tokens');
  switch (step['type']) {
    case 'BertProcessing':
    case 'RobertaProcessing':
      return clsSepAssembler(step, refuse);
    case 'TemplateProcessing':
      return templateAssembler(step, refuse);
    default:
      throw refuse(`a post_processor of type ${shown(step['type'])}`);
  }
}

interface Pipeline {
  readonly type: ModelType;
  /** The ids of a text, without special tokens around them. */
  readonly ids: (text: string) => number[];
  readonly assemble: Assemble;
  readonly join: (tokens: readonly string[]) => string;
  readonly added: readonly AddedToken[];
  /** Returns the id of a token, added ones included; undefined where there is none. */
  readonly idOf: (token: string) => number | undefined;
  /** Returns the token of an id, added ones included; undefined where there is none. */
  readonly tokenOf: (id: number) => string | undefined;
  /** The token for what the vocabulary lacks; null where there is none. */
  readonly unknown: string | null;
  /** One more than the highest id. */
  readonly size: number;
}

/** Makes the WordPiece model, by the library. Throws the fault without a known unk_token. */
const wordPiece: MakeModel = (model, vocabulary, refuse) => {
  const unknown = model['unk_token'];
  if (typeof unknown !== 'string' || !vocabulary.has(unknown))
    throw refuse(`the unk_token ${shown(unknown)}, which its vocab lacks`);
  const library = new WordPiece(model as unknown as ConstructorParameters<typeof WordPiece>[0]);
  return (piece) => library.encode([piece]).map((token) => vocabulary.get(token) ?? 0);
};

const MODELS = { WordPiece: wordPiece, BPE: bpe, Unigram: unigram } as const;
type ModelType = keyof typeof MODELS;

/** Returns the type of a model; guesses it by its fields where an old file leaves it out. */
function modelType(model: Config, refuse: Refuse): ModelType {
  const guess = Array.isArray(model['vocab'])
    ? 'Unigram'
    : 'merges' in model
      ? 'BPE'
      : 'continuing_subword_prefix' in model
        ? 'WordPiece'
        : undefined;
  const type = model['type'] ?? guess;
  if (typeof type !== 'string' || !Object.hasOwn(MODELS, type))
    throw refuse(`a model of type ${shown(type)}`);
  return type as ModelType;
}

/**
 * Makes the pipeline of a tokenizer.json that `checkTokenizer` has checked. Throws UserFault,
 * naming the part that is not supported.
 * @param named the special tokens that the files beside it name
 * @param name the path of tokenizer.json, for messages
 */
export function makePipeline(
  json: Config,
  config: Config,
  named: readonly unknown[],
  name: string,
): Pipeline {
  const refuse: Refuse = (what) => new UserFault(`${name}: it has ${what}; this is not supported`);
  if (config['split_special_tokens'] === true)
    throw refuse('split_special_tokens in its tokenizer_config.json');
  const model = json['model'] as Config;
  const type = modelType(model, refuse);
  const entries: readonly (readonly [string, number])[] =
    type === 'Unigram'
      ? pieces(model).map(([token], id) => [token, id])
      : Object.entries(model['vocab'] as Record<string, number>);
  const vocabulary = new Map(entries);
  const encode = MODELS[type](model, vocabulary, refuse);
  const added = addedTokens(json, config, named, vocabulary, entries.length, refuse);
  const normalize = makeNormalizer(json['normalizer'], refuse),
    split = makePreTokenizer(json['pre_tokenizer'], refuse),
    sections = sectioner(added, normalize, refuse);
  if (asksForFirst(json['pre_tokenizer']) && mayCutStart(json['normalizer']))
    throw refuse('a Metaspace with prepend_scheme "first" after a normalizer that may cut a text');

  const tokens: (string | undefined)[] = [],
    ids = new Map(vocabulary);
  for (const [token, id] of entries) tokens[id] = token;
  for (const { content, id } of added) {
    tokens[id] = content;
    ids.set(content, id);
  }
  const unknown =
    type === 'Unigram' ? tokens[Number(model['unk_id'] ?? -1)] : (model['unk_token'] ?? undefined);
  return {
    type,
    ids: (text) => {
      const out: number[] = [];
      for (const section of sections(text))
        if ('id' in section) out.push(section.id);
        else for (const piece of split(section)) for (const id of encode(piece.text)) out.push(id);
      return out;
    },
    assemble: assembler(json['post_processor'], refuse),
    join: makeDecoder(json['decoder'], refuse),
    added,
    idOf: (token) => ids.get(token),
    tokenOf: (id) => tokens[id],
    unknown: typeof unknown === 'string' ? unknown : null,
    size: tokens.length,
  };
}
