/** The pre-tokenizers of tokenizer.json, with the results of Python's tokenizers. */
import { isRecord, shown } from '../../../base/untrusted/json.ts';
import { type Config, makeExpression, type Refuse, stepsIn } from './expression.ts';
import { byteLevel } from './normalizer.ts';
import { punctuation, whiteSpace, WORD } from './unicode.ts';

interface Piece {
  readonly text: string;
  /** Whether the piece begins the whole text. */
  readonly first: boolean;
}
type PreTokenize = (piece: Piece) => readonly Piece[];

const BEHAVIORS = [
  'Removed',
  'Isolated',
  'MergedWithPrevious',
  'MergedWithNext',
  'Contiguous',
] as const;
type Behavior = (typeof BEHAVIORS)[number];

/** A part of a text: a match of a pattern, or what lies between two matches. */
interface Span {
  from: number;
  to: number;
  readonly match: boolean;
}

/**
 * Cuts a text into the matches of a pattern and what lies between. With `invert`, what lies between
 * counts as the matches.
 */
function cutSpans(text: string, pattern: RegExp, invert: boolean): Span[] {
  const spans: Span[] = [];
  let from = 0;
  for (const { 0: match, index } of text.matchAll(pattern)) {
    if (index > from) spans.push({ from, to: index, match: invert });
    spans.push({ from: index, to: (from = index + match.length), match: !invert });
  }
  if (from < text.length) spans.push({ from, to: text.length, match: invert });
  return spans;
}

/**
 * Joins each match to the span before it in the list by `extend`. A match that is first in the
 * list, or follows another match, stays a span of its own.
 */
function mergeMatches(
  spans: readonly Span[],
  extend: (neighbour: Span, match: Span) => void,
): Span[] {
  const out: Span[] = [];
  let previous = false;
  for (const span of spans) {
    const neighbour = out.at(-1);
    if (span.match && !previous && neighbour !== undefined) extend(neighbour, span);
    else out.push({ ...span });
    previous = span.match;
  }
  return out;
}

/** Returns the spans that a Split keeps, joined as its behavior says. */
function applyBehavior(spans: readonly Span[], behavior: Behavior): readonly Span[] {
  switch (behavior) {
    case 'Removed':
      return spans.filter(({ match }) => !match);
    case 'Isolated':
      return spans;
    case 'MergedWithPrevious':
      return mergeMatches(spans, (neighbour, { to }) => (neighbour.to = to));
    case 'MergedWithNext':
      return mergeMatches(
        [...spans].reverse(),
        (neighbour, { from }) => (neighbour.from = from),
      ).reverse();
    case 'Contiguous': {
      const out: Span[] = [];
      for (const span of spans) {
        const last = out.at(-1);
        if (last?.match === span.match) last.to = span.to;
        else out.push({ ...span });
      }
      return out;
    }
  }
}

/**
 * Returns the pre-tokenizer that cuts a piece at the matches of a pattern, as a Split does. Empty
 * pieces are left out.
 */
const split =
  (pattern: RegExp, behavior: Behavior, invert = false): PreTokenize =>
  ({ text, first }) =>
    applyBehavior(cutSpans(text, pattern, invert), behavior)
      .filter(({ from, to }) => to > from)
      .map(({ from, to }) => ({ text: text.slice(from, to), first: first && from === 0 }));

const chain =
  (steps: readonly PreTokenize[]): PreTokenize =>
  (piece) =>
    steps.reduce<readonly Piece[]>((pieces, step) => pieces.flatMap(step), [piece]);

/** Returns the behavior of a name in any case. Throws the fault of `refuse` for an unknown one. */
function readBehavior(value: unknown, refuse: Refuse): Behavior {
  const behavior = BEHAVIORS.find(
    (known) => typeof value === 'string' && known.toLowerCase() === value.toLowerCase(),
  );
  if (behavior === undefined) throw refuse(`a pre_tokenizer with the behavior ${shown(value)}`);
  return behavior;
}

/** GPT-2's own expression, but with `\p{White_Space}` for `\s`, which differs in JavaScript. */
const GPT2 =
  /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/**
 * Returns the pre-tokenizer ByteLevel. Unless the config says no, it puts a space before a text
 * that does not begin with one, and splits by `GPT2`. It always writes bytes as their characters.
 */
function byteLevelSplit(config: Config): PreTokenize {
  const splits =
    config['use_regex'] === false ? (piece: Piece) => [piece] : split(GPT2, 'Isolated');
  const prefix = config['add_prefix_space'] !== false;
  return ({ text, first }) =>
    splits({ text: prefix && text !== '' && !text.startsWith(' ') ? ` ${text}` : text, first }).map(
      (piece) => ({ ...piece, text: byteLevel(piece.text) }),
    );
}

/**
 * Returns the pre-tokenizer Metaspace. It writes spaces as marks, puts a mark before the text if
 * the scheme says so, and splits the text before marks unless `split` is false. Throws the fault of
 * `refuse` for a mark that is not one character, and for an unknown scheme.
 */
function metaspace(config: Config, refuse: Refuse): PreTokenize {
  const mark = config['replacement'] ?? '▁';
  if (typeof mark !== 'string' || Array.from(mark).length !== 1)
    throw refuse(`a Metaspace with the replacement ${shown(mark)}`);
  const scheme =
    config['prepend_scheme'] ?? (config['add_prefix_space'] === false ? 'never' : 'always');
  if (scheme !== 'always' && scheme !== 'first' && scheme !== 'never')
    throw refuse(`a Metaspace with the prepend_scheme ${shown(scheme)}`);
  const splits =
    config['split'] === false
      ? (piece: Piece) => [piece]
      : split(makeExpression({ String: mark }, 'Metaspace', refuse), 'MergedWithNext');
  return ({ text, first }) => {
    const marked = text.replaceAll(' ', mark);
    const prepend =
      marked !== '' &&
      !marked.startsWith(mark) &&
      (scheme === 'always' || (scheme === 'first' && first));
    return splits({ text: prepend ? mark + marked : marked, first });
  };
}

/**
 * Returns the pre-tokenizer that cuts a text into pieces of `length` characters; the last may be
 * shorter. Throws the fault of `refuse` unless `length` is a whole number above 0.
 */
function fixedLength(length: unknown, refuse: Refuse): PreTokenize {
  if (typeof length !== 'number' || !Number.isInteger(length) || length < 1)
    throw refuse(`a FixedLength of ${shown(length)}`);
  return split(new RegExp(`[^]{1,${length}}`, 'gu'), 'Isolated');
}

/**
 * Returns the pre-tokenizer of one part. Throws the fault of `refuse` for what is not supported.
 */
function makeStep(config: Config, refuse: Refuse): PreTokenize {
  switch (config['type']) {
    case 'BertPreTokenizer':
      return chain([split(whiteSpace, 'Removed'), split(punctuation, 'Isolated')]);
    case 'ByteLevel':
      return byteLevelSplit(config);
    case 'Metaspace':
      return metaspace(config, refuse);
    case 'Split':
      return split(
        makeExpression(config['pattern'], 'pre_tokenizer Split', refuse),
        readBehavior(config['behavior'], refuse),
        config['invert'] === true,
      );
    case 'Punctuation':
      return split(punctuation, readBehavior(config['behavior'] ?? 'Isolated', refuse));
    case 'Digits':
      return split(/\p{N}/gu, config['individual_digits'] === true ? 'Isolated' : 'Contiguous');
    case 'Whitespace':
      return split(new RegExp(`${WORD}+|(?:(?!${WORD})\\P{White_Space})+`, 'gu'), 'Removed', true);
    case 'WhitespaceSplit':
      return split(whiteSpace, 'Removed');
    case 'CharDelimiterSplit':
      return split(
        makeExpression({ String: config['delimiter'] }, 'CharDelimiterSplit', refuse),
        'Removed',
      );
    case 'FixedLength':
      return fixedLength(config['length'], refuse);
    case 'Sequence':
      return chain(stepsIn(config, 'pretokenizers').map((step) => makeStep(step, refuse)));
    default:
      throw refuse(`a pre_tokenizer of type ${shown(config['type'])}`);
  }
}

/**
 * Returns what `pre_tokenizer` of tokenizer.json describes; without one, a text stays one piece.
 * Throws the fault of `refuse` for what is not supported.
 */
export const makePreTokenizer = (config: unknown, refuse: Refuse): PreTokenize =>
  isRecord(config) ? makeStep(config, refuse) : (piece) => [piece];

/** Whether a pre-tokenizer, or a step inside it, has `prepend_scheme: first`. */
export function asksForFirst(config: unknown): boolean {
  if (!isRecord(config)) return false;
  return (
    config['prepend_scheme'] === 'first' || stepsIn(config, 'pretokenizers').some(asksForFirst)
  );
}
