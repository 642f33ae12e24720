/**
 * Checks a tokenizer.json before a tokenizer is made of it. Whatever reads it afterwards takes ids,
 * names and expressions as they are, so that a hostile file could exhaust memory or time.
 */
import { UserFault } from '../../../api.ts';
import { isRecord, shown } from '../../../base/untrusted/json.ts';

/** Vocabularies in use have up to 300,000 tokens. Ids index arrays, hence their bound. */
const MOST_TOKENS = 4_000_000,
  HIGHEST_ID = 2 ** 24,
  MOST_ADDED = 100_000;
/** The highest `max_input_chars_per_word`: WordPiece's time grows with its square. */
const LONGEST_WORD = 1000;
const EXPRESSION_LENGTH = 10_000,
  STEPS = 100;

type Fault = (why: string) => UserFault;

/** Whether a value is a whole number from 0 to HIGHEST_ID. */
const isId = (id: unknown): id is number =>
  typeof id === 'number' && Number.isInteger(id) && id >= 0 && id <= HIGHEST_ID;

/**
 * Throws UserFault where an id, a size or an expression is out of bounds, or a part is misshapen.
 * @returns `linear`: whether the time for a text grows linearly with its length, as for BERT's
 *   files
 */
export function checkTokenizer(json: unknown, name: string): { readonly linear: boolean } {
  const fault: Fault = (why) => new UserFault(`${name}: ${why}`);
  if (!isRecord(json)) throw fault(`${shown(json)} is not a tokenizer`);
  const { model } = json;
  if (!isRecord(model)) throw fault('it has no model');
  if (Array.isArray(model['vocab'])) checkScored(model['vocab'], fault);
  else checkVocabulary(model['vocab'], fault);
  checkMerges(model['merges'], fault);
  checkAdded(json['added_tokens'], fault);
  const longest = model['max_input_chars_per_word'];
  if (
    longest !== undefined &&
    longest !== null &&
    !(Number.isInteger(longest) && (longest as number) >= 1 && (longest as number) <= LONGEST_WORD)
  )
    throw fault(
      `max_input_chars_per_word is ${shown(longest)}; ` +
        `it must be a whole number from 1 to ${LONGEST_WORD}`,
    );
  for (const field of ['unk_token', 'continuing_subword_prefix'])
    if (!['string', 'undefined'].includes(typeof model[field]) && model[field] !== null)
      throw fault(`${field} is ${shown(model[field])}; it must be text`);
  const steps = (['normalizer', 'pre_tokenizer', 'post_processor', 'decoder'] as const).flatMap(
    (part) => allSteps(json[part], part, fault),
  );
  if (steps.length > STEPS) throw fault(`it has ${steps.length} steps; at most ${STEPS} are read`);
  return {
    linear: model['type'] === 'WordPiece' && steps.every(({ type }) => LINEAR.has(String(type))),
  };
}

/** The types of steps whose time grows linearly with the length of a text. */
const LINEAR = new Set([
  'BertNormalizer',
  'BertPreTokenizer',
  'Lowercase',
  'NFC',
  'NFD',
  'NFKC',
  'NFKD',
  'StripAccents',
  'Sequence',
  'WhitespaceSplit',
  'Whitespace',
  'BertProcessing',
  'RobertaProcessing',
  'TemplateProcessing',
  'WordPiece',
]);

/** Throws `fault` unless a vocabulary is an object of distinct ids within the bounds, by token. */
function checkVocabulary(vocabulary: unknown, fault: Fault): void {
  if (!isRecord(vocabulary)) throw fault('its model has no vocab');
  const entries = Object.entries(vocabulary);
  checkSize(entries, fault);
  const owner = new Map<number, string>();
  for (const [token, id] of entries) {
    if (!isId(id))
      throw fault(
        `token ${shown(token)} has the id ${shown(id)}; ids are whole numbers from 0 to ` +
          `${HIGHEST_ID}`,
      );
    const other = owner.get(id);
    if (other !== undefined)
      throw fault(`tokens ${shown(other)} and ${shown(token)} have the same id ${id}`);
    owner.set(id, token);
  }
}

/** Throws `fault` for a vocabulary without entries, or with too many. */
function checkSize({ length }: readonly unknown[], fault: Fault): void {
  if (length === 0) throw fault('its vocab is empty');
  if (length > MOST_TOKENS)
    throw fault(`its vocab has ${length} tokens; at most ${MOST_TOKENS} are read`);
}

/**
 * Throws `fault` unless a Unigram model's vocabulary is a list of pairs of a token and its score.
 * The position is the id.
 */
function checkScored(vocabulary: readonly unknown[], fault: Fault): void {
  checkSize(vocabulary, fault);
  for (const [id, entry] of vocabulary.entries())
    if (
      !Array.isArray(entry) ||
      typeof entry[0] !== 'string' ||
      typeof entry[1] !== 'number' ||
      !Number.isFinite(entry[1])
    )
      throw fault(`entry ${id} of its vocab is ${shown(entry)}, not a token and its score`);
}

/** Throws `fault` unless merges are absent or a list of texts and of pairs of texts. */
function checkMerges(merges: unknown, fault: Fault): void {
  if (merges === undefined || merges === null) return;
  if (!Array.isArray(merges)) throw fault('its merges are not a list');
  if (merges.length > MOST_TOKENS)
    throw fault(`it has ${merges.length} merges; at most ${MOST_TOKENS} are read`);
  const isText = (part: unknown): boolean => typeof part === 'string';
  const wrong = merges.findIndex(
    (merge: unknown) =>
      !isText(merge) && !(Array.isArray(merge) && merge.length === 2 && merge.every(isText)),
  );
  if (wrong >= 0) throw fault(`merge ${wrong} is ${shown(merges[wrong])}, not a pair of tokens`);
}

/** Throws `fault` unless added tokens are absent or a list of objects with a content and an id. */
function checkAdded(added: unknown, fault: Fault): void {
  if (added === undefined || added === null) return;
  if (!Array.isArray(added)) throw fault('added_tokens is not a list');
  if (added.length > MOST_ADDED)
    throw fault(`it has ${added.length} added tokens; at most ${MOST_ADDED} are read`);
  for (const token of added as readonly unknown[]) {
    if (!isRecord(token) || typeof token['content'] !== 'string' || token['content'] === '')
      throw fault(`the added token ${shown(token)} has no content`);
    if (!isId(token['id']))
      throw fault(
        `the added token ${shown(token['content'])} has the id ${shown(token['id'])}; ids ` +
          `are whole numbers from 0 to ${HIGHEST_ID}`,
      );
  }
}

/**
 * Returns a part of the file, such as its normalizer, and all steps inside it; none if the part is
 * absent. Throws `fault` if one of them is misshapen.
 * @param name the name of the part, for the fault
 */
function allSteps(
  part: unknown,
  name: string,
  fault: Fault,
): { readonly [name: string]: unknown }[] {
  if (part === undefined || part === null) return [];
  if (!isRecord(part) || typeof part['type'] !== 'string')
    throw fault(`its ${name} is ${shown(part)}, which has no type`);
  const { pattern } = part;
  if (pattern !== undefined) {
    const source = isRecord(pattern) ? (pattern['Regex'] ?? pattern['String']) : undefined;
    if (typeof source !== 'string')
      throw fault(`the pattern of its ${name} is ${shown(pattern)}, not a Regex or a String`);
    if (source.length > EXPRESSION_LENGTH)
      throw fault(
        `the pattern of its ${name} has ${source.length} characters; at most ` +
          `${EXPRESSION_LENGTH} are read`,
      );
  }
  const inner = ['normalizers', 'pretokenizers', 'processors', 'decoders'].flatMap((list) =>
    part[list] === undefined ? [] : [part[list]],
  );
  if (inner.some((list) => !Array.isArray(list)))
    throw fault(`its ${name} is a Sequence of ${shown(inner[0])}, which is not a list`);
  return [part, ...inner.flat().flatMap((step) => allSteps(step, name, fault))];
}
