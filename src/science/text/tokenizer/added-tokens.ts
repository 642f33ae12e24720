/** Added tokens, found in a text before anything else, as Python's tokenizers do. */
import { isRecord, shown } from '../../../base/untrusted/json.ts';
import type { Config, Refuse } from './expression.ts';
import type { Normalize } from './normalizer.ts';
import { isSpace, WORD } from './unicode.ts';

export interface AddedToken {
  readonly content: string;
  readonly id: number;
  /** Whether the token is left out of a decoded text on request. */
  readonly special: boolean;
  /** Whether the token is looked for in the normalised text. */
  readonly normalized: boolean;
  /** Whether the token takes in the white space before it (`lstrip`) or after it (`rstrip`). */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /**
   * Whether the token is only found where no letter, digit or other character of words touches it.
   */
  readonly singleWord: boolean;
}

/**
 * A part of a text: an added token, or a text to be split. `first`: whether this part begins the
 * whole text.
 */
export type Section = { readonly text: string; readonly first: boolean } | { readonly id: number };

const isNonEmpty = (value: unknown): value is string => typeof value === 'string' && value !== '';

/**
 * Reads a token of a file: an object with its settings, or a text, which is a special token.
 * Returns null for anything else.
 * @param special whether an object is a special token even if it does not say so
 */
function tokenSettings(value: unknown, special: boolean): Omit<AddedToken, 'id'> | null {
  if (isNonEmpty(value)) return { content: value, special: true, normalized: false, ...NO_STRIP };
  if (!isRecord(value) || !isNonEmpty(value['content'])) return null;
  const isSpecial = special || value['special'] === true;
  return {
    content: value['content'],
    special: isSpecial,
    normalized: typeof value['normalized'] === 'boolean' ? value['normalized'] : !isSpecial,
    lstrip: value['lstrip'] === true,
    rstrip: value['rstrip'] === true,
    singleWord: value['single_word'] === true,
  };
}
const NO_STRIP = { lstrip: false, rstrip: false, singleWord: false } as const;

/**
 * Returns the added tokens of a tokenizer, as transformers puts them together. The tokens of
 * tokenizer.json come first. `added_tokens_decoder` of tokenizer_config.json then adds tokens and
 * changes settings. Of the special tokens that the files name (`named`), those that are still
 * missing are added last. A token that no vocabulary holds gets the next free id. Throws the fault
 * of `refuse` where tokenizer.json gives a token another id than its vocabulary does.
 * @param named the special tokens, as tokenizer.ts reads them
 * @param vocabulary the vocabulary of the model
 * @param size the number of entries of the vocabulary
 */
export function addedTokens(
  json: Config,
  config: Config,
  named: readonly unknown[],
  vocabulary: ReadonlyMap<string, number>,
  size: number,
  refuse: Refuse,
): AddedToken[] {
  const tokens = new Map<string, AddedToken>();
  let next = size;
  /**
   * Adds a token, or replaces the token of the same content. Returns null if `value` is no token.
   */
  const add = (value: unknown, special: boolean): AddedToken | null => {
    const read = tokenSettings(value, special);
    if (read === null) return null;
    const before = tokens.get(read.content);
    const token = {
      ...read,
      special: read.special || before?.special === true,
      id: before?.id ?? vocabulary.get(read.content) ?? next,
    };
    tokens.set(read.content, token);
    next = Math.max(next, token.id + 1);
    return token;
  };
  for (const value of (json['added_tokens'] ?? []) as readonly Config[]) {
    const token = add(value, false);
    if (token !== null && token.id !== value['id'])
      throw refuse(
        `the added token ${shown(token.content)} with the id ${shown(value['id'])}, where its ` +
          `vocab leads to ${token.id}: another id`,
      );
  }
  const decoder = config['added_tokens_decoder'];
  const entries = isRecord(decoder) ? Object.entries(decoder) : [];
  for (const [, value] of entries.sort(([a], [b]) => Number(a) - Number(b))) add(value, false);
  for (const value of named) {
    const content = isRecord(value) ? value['content'] : value;
    if (!tokens.has(String(content))) add(value, true);
  }
  return [...tokens.values()];
}

interface Node {
  readonly children: Map<string, Node>;
  token?: AddedToken;
}

/** Finds added tokens in a text: from left to right, and at each place the longest one. */
class Finder {
  private readonly root: Node = { children: new Map() };

  /**
   * Adds a token that is found by `text`: its content, normalised if it is looked for in normalised
   * text. Of two tokens with the same text, the first one added is found.
   */
  add(text: string, token: AddedToken): void {
    let node = this.root;
    for (let i = 0; i < text.length; i++) {
      const unit = text.charAt(i);
      let child = node.children.get(unit);
      if (child === undefined) node.children.set(unit, (child = { children: new Map() }));
      node = child;
    }
    node.token ??= token;
  }

  /** Yields the tokens found, in order; they do not overlap. */
  *find(text: string): Generator<{ from: number; to: number; token: AddedToken }> {
    for (let from = 0; from < text.length;) {
      let found: { from: number; to: number; token: AddedToken } | null = null;
      let node = this.root.children.get(text.charAt(from));
      for (let to = from + 1; node !== undefined; to++) {
        if (node.token !== undefined) found = { from, to, token: node.token };
        node = node.children.get(text.charAt(to));
      }
      if (found !== null) yield found;
      from = found?.to ?? from + 1;
    }
  }
}

const WORD_END = new RegExp(`${WORD}$`, 'u'),
  WORD_START = new RegExp(`^${WORD}`, 'u');
/** Returns the two UTF-16 units before `end`, which hold the last character there. */
const tail = (text: string, end: number): string => text.slice(Math.max(0, end - 2), end);

/**
 * Cuts a text into added tokens and texts. A token with `singleWord` that touches a word stays in
 * the text. `first`: whether the given text begins the whole text.
 */
function cutSections(text: string, finder: Finder, first: boolean): Section[] {
  const sections: Section[] = [];
  let done = 0;
  for (const { token, ...span } of finder.find(text)) {
    let { from, to } = span;
    if (
      token.singleWord &&
      (WORD_END.test(tail(text, from)) || WORD_START.test(text.slice(to, to + 2)))
    )
      continue;
    if (token.lstrip) while (from > done && isSpace(text.charAt(from - 1))) from--;
    if (token.rstrip) while (to < text.length && isSpace(text.charAt(to))) to++;
    if (from > done) sections.push({ text: text.slice(done, from), first: first && done === 0 });
    sections.push({ id: token.id });
    done = to;
  }
  if (done < text.length) sections.push({ text: text.slice(done), first: first && done === 0 });
  return sections;
}

/**
 * Returns the function that cuts a text into added tokens and the texts between them, which it
 * normalises. Throws the fault of `refuse` if the normalizer leaves nothing of an added token.
 */
export function sectioner(
  tokens: readonly AddedToken[],
  normalize: Normalize | null,
  refuse: Refuse,
): (text: string) => Section[] {
  const raw = new Finder(),
    normalized = new Finder();
  const inOrder = [...tokens].sort((a, b) => Number(b.special) - Number(a.special));
  for (const token of inOrder) {
    const content = token.normalized
      ? (normalize?.(token.content) ?? token.content)
      : token.content;
    if (content === '')
      throw refuse(
        `the added token ${shown(token.content)}, of which its normalizer leaves nothing`,
      );
    (token.normalized ? normalized : raw).add(content, token);
  }
  return (text) =>
    cutSections(text, raw, true).flatMap((section) =>
      'id' in section
        ? [section]
        : cutSections(normalize?.(section.text) ?? section.text, normalized, section.first),
    );
}
