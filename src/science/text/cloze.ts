/**
 * Cloze prompts (Schick & Schütze 2021; Gao et al. 2021): a template that contains the text and a
 * mask, and a verbalizer with one word for each class, whose logit at the mask is the logit of the
 * class.
 */
import { type Problem, UserFault } from '../../api.ts';
import { shown } from '../../base/untrusted/json.ts';
import type { TokenRow } from '../models/types.ts';
import { longestFirst, type TextTokenizer } from './tokenizer.ts';

/** The token ids of a text, and how many of them, from the first, reach the model. */
export interface RowPart {
  readonly ids: readonly number[];
  readonly kept: number;
}

const SLOTS = ['text', 'text_pair', 'mask'] as const;
type Slot = (typeof SLOTS)[number];
type Part = { readonly slot: Slot } | { readonly literal: string };

const isSlot = (name: string): name is Slot => (SLOTS as readonly string[]).includes(name);

/**
 * Cuts a template at its slots. Throws UserFault where a slot is unknown or repeated, or {text} or
 * {mask} is missing.
 */
export function parseTemplate(template: string): Part[] {
  const parts = template
    .split(/(\{[^{}]*\})/)
    .filter((part) => part !== '')
    .map((part): Part => {
      if (!/^\{[^{}]*\}$/.test(part)) return { literal: part };
      const name = part.slice(1, -1);
      if (!isSlot(name))
        throw new UserFault(
          `the template ${shown(template)} has an unknown slot ${part.slice(0, 80)}`,
          `Its slots are ${SLOTS.map((slot) => `{${slot}}`).join(', ')}.`,
        );
      return { slot: name };
    });
  for (const slot of SLOTS) {
    const count = parts.filter((part) => 'slot' in part && part.slot === slot).length;
    if (count > 1)
      throw new UserFault(
        `the template ${shown(template)} has {${slot}} ${count} times`,
        'Write each slot once.',
      );
    if (count === 0 && slot !== 'text_pair')
      throw new UserFault(
        `the template ${shown(template)} has no {${slot}}`,
        'Write {text} where the text goes and {mask} where the model fills in a word, ' +
          'as in "{text} It was {mask} .".',
      );
  }
  return parts;
}

/** Returns the mask token. Throws UserFault if the tokenizer has none. */
const requireMask = (tokenizer: TextTokenizer): string => {
  if (tokenizer.mask === null)
    throw new UserFault(
      'the tokenizer has no mask token',
      'A cloze head needs the tokenizer of a masked language model.',
    );
  return tokenizer.mask;
};

interface FilledTemplate {
  /** The token ids, without the special tokens around them. */
  readonly ids: readonly number[];
  /** The position of the mask in `ids`. */
  readonly mask: number;
  /** The row's text and its pair, if it has one: the ids before the cut, and how many are kept. */
  readonly parts: RowPart[];
}
/**
 * Fills in a row. Cuts its texts so that the filled template takes at most `room` tokens. Throws
 * UserFault where the template takes more by itself.
 */
type FillTemplate = (text: string, pair: string | undefined, room: number) => FilledTemplate;

/**
 * Returns how much of a text and of its pair is kept, if the template and they may take at most
 * `room` tokens together. The longer of the two is cut first. `texts`: the ids of the text and, if
 * there is one, of its pair.
 */
type CutTexts = (
  texts: readonly (readonly number[])[],
  templateTokens: number,
  room: number,
) => RowPart[];

/** The place in `FilledTemplate.parts` of the text that a slot stands for. */
const textIndex = (slot: Slot): number => (slot === 'text' ? 0 : 1);
const isForPairs = (parts: readonly Part[]): boolean =>
  parts.some((part) => 'slot' in part && part.slot === 'text_pair');

/**
 * Returns a filler that tokenises each part of the template by itself. This suits tokenizers none
 * of whose tokens spans two words.
 */
function fillByParts(
  parts: readonly Part[],
  tokenizer: TextTokenizer,
  cutTexts: CutTexts,
): FillTemplate {
  const mask = tokenizer.id(requireMask(tokenizer));
  const read = parts.map((part) =>
    'literal' in part ? { ids: tokenizer.ids(part.literal) } : part,
  );
  const templateTokens = read.reduce(
    (sum, part) => sum + ('ids' in part ? part.ids.length : part.slot === 'mask' ? 1 : 0),
    0,
  );
  return (text, pair, room) => {
    const ids = (pair === undefined ? [text] : [text, pair]).map(tokenizer.ids);
    const texts = cutTexts(ids, templateTokens, room);
    const kept = texts.map((part) => part.ids.slice(0, part.kept));
    const filled: number[] = [];
    let maskPosition = -1;
    for (const part of read) {
      if ('ids' in part) filled.push(...part.ids);
      else if (part.slot === 'mask') maskPosition = filled.push(mask) - 1;
      else filled.push(...(kept[textIndex(part.slot)] ?? []));
    }
    return { ids: filled, mask: maskPosition, parts: texts };
  };
}

/** Returns how many elements two lists have in common at their start. */
export function commonStart(a: ArrayLike<unknown>, b: ArrayLike<unknown>): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}

/**
 * Returns a filler that tokenises the filled template as one text, since a token may span the edge
 * of a part (`Ġ` and `▁` stand for the space before a word). A token over the start of a text
 * counts as the text's, and a token over its end as the template's.
 */
function fillAsWhole(
  parts: readonly Part[],
  tokenizer: TextTokenizer,
  cutTexts: CutTexts,
): FillTemplate {
  const mask = requireMask(tokenizer),
    maskId = tokenizer.id(mask);
  const countMasks = (ids: readonly number[]): number => ids.filter((id) => id === maskId).length;
  return (text, pair, room) => {
    const filled = parts.map((part) =>
      'literal' in part ? part.literal : { text, text_pair: pair ?? '', mask }[part.slot],
    );
    const whole = tokenizer.ids(filled.join(''));
    const idsBefore = (i: number): number[] => tokenizer.ids(filled.slice(0, i).join(''));
    const spans: (readonly [from: number, to: number])[] = []; // in `whole`: text, then pair
    let masksBefore = 0;
    for (const [i, part] of parts.entries()) {
      if (!('slot' in part)) continue;
      if (part.slot === 'mask') masksBefore = countMasks(idsBefore(i));
      else {
        const from = commonStart(idsBefore(i), whole);
        spans[textIndex(part.slot)] = [from, Math.max(from, commonStart(idsBefore(i + 1), whole))];
      }
    }
    const texts = spans.map(([from, to]) => whole.slice(from, to));
    const templateTokens = whole.length - texts.reduce((sum, ids) => sum + ids.length, 0);
    const cut = cutTexts(texts, templateTokens, room);
    const cutPositions = new Set<number>();
    for (const [i, [from, to]] of spans.entries())
      for (let at = from + (cut[i]?.kept ?? 0); at < to; at++) cutPositions.add(at);
    // The texts may contain the mask token too, so the masks before the template's are skipped.
    let maskPosition = -1;
    for (const [at, id] of whole.entries())
      if (id === maskId && masksBefore-- === 0) maskPosition = at;
    const cutBeforeMask = [...cutPositions].filter((at) => at < maskPosition).length;
    return {
      ids: whole.filter((_, at) => !cutPositions.has(at)),
      mask: maskPosition - cutBeforeMask,
      parts: cut,
    };
  };
}

/**
 * Returns a function that fills the template with a row. It cuts the texts so that the row has at
 * most `maxLength` tokens with the special tokens around it. It throws UserFault where the template
 * alone is longer, and where the rows are pairs and the template is for single texts, or the
 * reverse.
 */
export function templateFiller(
  template: string,
  tokenizer: TextTokenizer,
): (text: string, pair: string | undefined, maxLength: number) => FilledTemplate {
  const { before, after } = tokenizer.edges;
  const parts = parseTemplate(template),
    around = before.length + after.length;
  const forPairs = isForPairs(parts);
  const cutTexts: CutTexts = (texts, templateTokens, room) => {
    if (templateTokens > room)
      throw new UserFault(
        `the template ${shown(template)} takes ${templateTokens + around} tokens by itself, and ` +
          `${room + around} are allowed`,
      );
    const [first = 0, second = 0] = texts.map(({ length }) => length);
    const kept = longestFirst(first, second, room - templateTokens);
    return texts.map((ids, i) => ({ ids, kept: kept[i] ?? 0 }));
  };
  const fill = (tokenizer.byWords ? fillByParts : fillAsWhole)(parts, tokenizer, cutTexts);
  return (text, pair, maxLength) => {
    if (forPairs !== (pair !== undefined)) {
      throw new UserFault(
        forPairs
          ? `the template ${shown(template)} has {text_pair}, but the rows are single texts`
          : `the rows are pairs, but the template ${shown(template)} has no {text_pair}`,
        'head.template must show what the rows hold.',
      );
    }
    return fill(text, pair, maxLength - around);
  };
}

/** Returns how many tokens a template takes by itself: words, mask and special tokens. */
export function templateLength(template: string, tokenizer: TextTokenizer): number {
  const pair = isForPairs(parseTemplate(template)) ? '' : undefined;
  return clozeEncoder(template, tokenizer)('', pair, Infinity).ids.length;
}

/**
 * Returns the encoder of rows by a template. Only the texts are cut, longest first; all tokens have
 * type 0. The encoder throws UserFault as `templateFiller` does.
 */
export function clozeEncoder(
  template: string,
  tokenizer: TextTokenizer,
): (text: string, pair: string | undefined, maxLength: number) => TokenRow {
  const fill = templateFiller(template, tokenizer);
  const { before, after } = tokenizer.edges;
  return (text, pair, maxLength) => {
    const { ids, mask } = fill(text, pair, maxLength);
    const row = Int32Array.from([...before, ...ids, ...after]);
    return { ids: row, typeIds: new Int32Array(row.length), mask: before.length + mask };
  };
}

/**
 * Returns the tokens of a word in the place of the mask: those that follow the text of the template
 * before the mask, since a token may hold the space before a word. Without a template, or if the
 * tokenizer is `byWords`, they are those of the word by itself.
 */
function wordTokens(word: string, template: string | null, tokenizer: TextTokenizer): string[] {
  if (template === null || tokenizer.byWords) return tokenizer.tokens(word);
  const parts = parseTemplate(template);
  const maskIndex = parts.findIndex((part) => 'slot' in part && part.slot === 'mask');
  const before = parts
    .slice(0, maskIndex)
    .map((part) => ('literal' in part ? part.literal : 'a'))
    .join('');
  const shared = commonStart(tokenizer.ids(before.trimEnd()), tokenizer.ids(before + word));
  return tokenizer.tokens(before + word).slice(shared);
}

/**
 * Returns the token id of each class's word, by class name, and a problem for each word that is not
 * one known token or has the token of an earlier class. Such a word has no id in `tokens`. The
 * paths of problems are from the root of the spec.
 * @param template the template whose mask the words fill; null for words by themselves
 */
export function verbalizerTokens(
  verbalizer: { readonly [name: string]: string },
  tokenizer: TextTokenizer,
  template: string | null = null,
): { readonly tokens: ReadonlyMap<string, number>; readonly problems: readonly Problem[] } {
  const tokens = new Map<string, number>(),
    problems: Problem[] = [];
  for (const [name, word] of Object.entries(verbalizer)) {
    const path = ['head', 'verbalizer', name];
    const pieces = wordTokens(word, template, tokenizer);
    const [only] = pieces;
    const addProblem = (
      message: string,
      hint = "Name a word that is one token of this model's vocabulary.",
    ): void => {
      problems.push({ path, message, hint });
    };
    if (only === undefined || pieces.length > 1)
      addProblem(
        `the verbalizer's word "${word}" is ${pieces.length} tokens` +
          `${pieces.length > 1 ? ` (${pieces.join(' ')})` : ''}; it must be one token`,
      );
    else if (only === tokenizer.unknown)
      addProblem(`the verbalizer's word "${word}" is not in the vocabulary`);
    else {
      const id = tokenizer.id(only),
        other = [...tokens].find(([, known]) => known === id);
      if (other === undefined) tokens.set(name, id);
      else
        addProblem(
          `the words of classes "${other[0]}" and "${name}" are the same token, "${only}"`,
          'Each class needs a different word.',
        );
    }
  }
  return { tokens, problems };
}

/** Returns a problem where a verbalizer does not name exactly the classes, else null. */
export function verbalizerMismatch(
  verbalizer: { readonly [name: string]: string },
  classes: readonly string[],
): Problem | null {
  const names = Object.keys(verbalizer);
  const missing = classes.filter((name) => !names.includes(name)),
    foreign = names.filter((name) => !classes.includes(name));
  if (missing.length === 0 && foreign.length === 0) return null;
  const quoted = (list: readonly string[]): string => list.map((name) => `"${name}"`).join(', ');
  return {
    path: ['head', 'verbalizer'],
    message: [
      ...(missing.length > 0 ? [`the verbalizer has no word for ${quoted(missing)}`] : []),
      ...(foreign.length > 0
        ? [
            `it names ${quoted(foreign)}, which ` +
              `${foreign.length > 1 ? 'are not classes' : 'is not a class'} of the data`,
          ]
        : []),
    ].join('; '),
    hint: `The classes are ${quoted(classes)}.`,
  };
}
