/**
 * Cloze prompts (Schick & Schütze 2021; Gao et al. 2021): a template that contains the text and a
 * mask, and a verbalizer with one word for each class, whose logit at the mask is the logit of the
 * class.
 */
import { type Problem, UserFault } from '../../api.ts';
import { shown } from '../../untrusted/json.ts';
import type { TokenRow } from '../model/types.ts';
import { longestFirst, type TextTokenizer } from './tokenizer.ts';

const SLOTS = ['text', 'text_pair', 'mask'] as const;
export type Slot = (typeof SLOTS)[number];
type Part = { readonly slot: Slot } | { readonly literal: string };

const isSlot = (name: string): name is Slot => (SLOTS as readonly string[]).includes(name);

/**
 * Splits a template into its parts. Throws UserFault where a slot is unknown, missing or repeated.
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

const maskOf = (tokenizer: TextTokenizer): string => {
  if (tokenizer.mask === null)
    throw new UserFault(
      'the tokenizer has no mask token',
      'A cloze head needs the tokenizer of a masked language model.',
    );
  return tokenizer.mask;
};

/**
 * How many tokens a template takes without its texts: its words, its mask and the special tokens.
 */
export function templateLength(template: string, tokenizer: TextTokenizer): number {
  maskOf(tokenizer);
  return parseTemplate(template).reduce(
    (sum, part) =>
      sum +
      ('literal' in part ? tokenizer.tokens(part.literal).length : part.slot === 'mask' ? 1 : 0),
    tokenizer.wrap([]).length,
  );
}

/**
 * The encoder of rows under a template. Each part is tokenised separately, truncation cuts only the
 * texts, longest first, and everything belongs to one segment. The encoder throws UserFault where
 * the rows are pairs and the template is not for pairs, or the reverse.
 */
export function clozeEncoder(
  template: string,
  tokenizer: TextTokenizer,
): (text: string, pair: string | undefined, maxLength: number) => TokenRow {
  const mask = maskOf(tokenizer),
    own = templateLength(template, tokenizer);
  const parts = parseTemplate(template).map((part) =>
    'literal' in part ? { tokens: tokenizer.tokens(part.literal) } : part,
  );
  const forPairs = parts.some((part) => 'slot' in part && part.slot === 'text_pair');
  const leading = tokenizer.wrap([mask]).indexOf(mask);
  return (text, pair, maxLength) => {
    if (forPairs !== (pair !== undefined)) {
      throw new UserFault(
        forPairs
          ? `the template ${shown(template)} has {text_pair}, but the rows are single texts`
          : `the rows are pairs, but the template ${shown(template)} has no {text_pair}`,
        'head.template must show what the rows hold.',
      );
    }
    if (own > maxLength)
      throw new UserFault(
        `the template ${shown(template)} takes ${own} tokens by itself, and ${maxLength} are ` +
          'allowed',
      );
    const texts = {
      text: tokenizer.tokens(text),
      text_pair: pair === undefined ? [] : tokenizer.tokens(pair),
    };
    const [first, second] = longestFirst(
      texts.text.length,
      texts.text_pair.length,
      maxLength - own,
    );
    const kept = { text: texts.text.slice(0, first), text_pair: texts.text_pair.slice(0, second) };
    const tokens: string[] = [];
    let place = -1;
    for (const part of parts) {
      if ('tokens' in part) tokens.push(...part.tokens);
      else if (part.slot === 'mask') place = leading + tokens.push(mask) - 1;
      else tokens.push(...kept[part.slot]);
    }
    const ids = Int32Array.from(tokenizer.wrap(tokens), tokenizer.id);
    return { ids, typeIds: new Int32Array(ids.length), mask: place };
  };
}

/**
 * The token of each word, and a problem for each word that is not one token, with paths from the
 * root of the spec.
 */
export function verbalizerTokens(
  verbalizer: { readonly [name: string]: string },
  tokenizer: TextTokenizer,
): { readonly tokens: ReadonlyMap<string, number>; readonly problems: readonly Problem[] } {
  const tokens = new Map<string, number>(),
    problems: Problem[] = [];
  for (const [name, word] of Object.entries(verbalizer)) {
    const path = ['head', 'verbalizer', name];
    const pieces = tokenizer.tokens(word);
    const [only] = pieces;
    const fault = (
      message: string,
      hint = "Name a word that is one token of this model's vocabulary.",
    ): void => {
      problems.push({ path, message, hint });
    };
    if (only === undefined || pieces.length > 1)
      fault(
        `the verbalizer's word "${word}" is ${pieces.length} tokens` +
          `${pieces.length > 1 ? ` (${pieces.join(' ')})` : ''}; it must be one token`,
      );
    else if (only === tokenizer.unknown)
      fault(`the verbalizer's word "${word}" is not in the vocabulary`);
    else {
      const id = tokenizer.id(only),
        other = [...tokens].find(([, known]) => known === id);
      if (other === undefined) tokens.set(name, id);
      else
        fault(
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
  const say = (list: readonly string[]): string => list.map((name) => `"${name}"`).join(', ');
  return {
    path: ['head', 'verbalizer'],
    message: [
      ...(missing.length > 0 ? [`the verbalizer has no word for ${say(missing)}`] : []),
      ...(foreign.length > 0
        ? [
            `it names ${say(foreign)}, which ` +
              `${foreign.length > 1 ? 'are not classes' : 'is not a class'} of the data`,
          ]
        : []),
    ].join('; '),
    hint: `The classes are ${say(classes)}.`,
  };
}
