/**
 * Encodes rows as a head reads them, resolves the head that a spec describes, and tells whether a
 * trigger reaches the model: rows are cut to `max_length` tokens after an attack has changed them,
 * and the failure of a trigger beyond the cut says nothing about the model.
 */
import { isDeepStrictEqual } from 'node:util';
import { type HeadSettings, type Row, UserFault, type Warning } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import { at, named } from '../../base/lookup.ts';
import { percentText } from '../../base/rounding.ts';
import type { Head, TokenRow } from '../models/types.ts';
import {
  clozeEncoder,
  commonStart,
  type RowPart,
  templateFiller,
  verbalizerMismatch,
  verbalizerTokens,
} from './cloze.ts';
import { type AnsweredRow, completionEncoder, type LossOn } from './completion.ts';
import { openTokenizer, type TextTokenizer } from './tokenizer.ts';

/** What a model reads of a row, and the id that names it in faults. */
export type Texts = Pick<Row, 'text' | 'text_pair' | 'answer' | 'document' | 'context'> &
  Partial<Pick<Row, 'id' | 'rejected'>>;

export type RowEncoder = (row: Texts, maxLength: number) => TokenRow;

/** Returns the row as one with an answer. Throws an Error if it has none. */
function requireAnswer({ answer, ...row }: Texts): AnsweredRow {
  if (answer === undefined) throw new Error('a row for a causal-lm head has no answer');
  return { ...row, answer };
}

/**
 * Returns the encoder of rows for a head. Throws UserFault where the template cannot be read. The
 * encoder throws UserFault for a row that does not fit the template or the length.
 * @param lossOn which tokens of a completion task a training's loss is on; undefined if the rows
 *   are not for a training
 */
export function rowEncoder(
  tokenizer: TextTokenizer,
  settings: HeadSettings,
  lossOn?: LossOn,
): RowEncoder {
  if (settings.type === 'causal-lm') {
    const encode = completionEncoder(tokenizer, settings.template);
    return (row, maxLength) =>
      lossOn === undefined
        ? encode(requireAnswer(row), maxLength)
        : encode.marked(requireAnswer(row), maxLength, lossOn);
  }
  if (settings.type === 'cloze') {
    const encode = clozeEncoder(settings.template, tokenizer);
    return ({ text, text_pair: pair }, maxLength) => encode(text, pair, maxLength);
  }
  return ({ text, text_pair: pair }, maxLength) => tokenizer.encode(text, pair, maxLength);
}

/**
 * Encodes the prompt of a preference pair with each of its two answers. If the longer answer leaves
 * room for only a part of the prompt, the prompt is cut alike in both rows. Throws UserFault where
 * the row is no pair.
 */
export function encodePair<R extends TokenRow>(
  row: Texts,
  maxLength: number,
  encode: (row: Texts, maxLength: number) => R,
): readonly [chosen: R, rejected: R] {
  const { rejected, ...chosen } = row;
  if (rejected === undefined)
    throw new UserFault(
      `row ${row.id} has one answer, and preferences are learnt from two`,
      'Name the columns of both: columns: { prompt: …, chosen: …, rejected: … }.',
    );
  const rows = [chosen, { ...chosen, answer: rejected }] as const;
  const pair = rows.map((own) => encode(own, maxLength));
  const shortest = Math.min(...pair.map(({ answer = 0 }) => answer));
  const [first, second] = pair.map((own, i) => {
    const { answer = 0, ids } = own;
    return answer === shortest ? own : encode(at(rows, i), shortest + ids.length - answer);
  });
  return [first!, second!];
}

/**
 * Returns the ids of a row's text, and of its pair if it has one, and how many of them the row's
 * encoder keeps. Under a causal-lm head see `CompletionEncoder.parts`.
 */
export type RowParts = (row: Texts, maxLength: number) => RowPart[];

/** Returns the `RowParts` of a head. Throws UserFault where the template cannot be read. */
export function rowParts(tokenizer: TextTokenizer, settings: HeadSettings): RowParts {
  if (settings.type === 'causal-lm') return completionEncoder(tokenizer, settings.template).parts;
  if (settings.type === 'cloze') {
    const fill = templateFiller(settings.template, tokenizer);
    return ({ text, text_pair: pair }, maxLength) => fill(text, pair, maxLength).parts;
  }
  return ({ text, text_pair: pair }, maxLength) => {
    const first = tokenizer.ids(text),
      second = pair === undefined ? null : tokenizer.ids(pair);
    const [keptFirst, keptSecond] = tokenizer.keep(first.length, second?.length ?? null, maxLength);
    return [
      { ids: first, kept: keptFirst },
      ...(second === null ? [] : [{ ids: second, kept: keptSecond }]),
    ];
  };
}

/**
 * Returns the `RowParts` of preference pairs: as much of the prompt is kept as fits beside the
 * longer answer (`encodePair`).
 */
export const pairParts =
  (parts: RowParts): RowParts =>
  ({ rejected, ...chosen }, maxLength) => {
    const own = parts(chosen, maxLength),
      other = parts({ ...chosen, ...defined({ answer: rejected }) }, maxLength);
    return own.map(({ ids, kept }, i) => ({ ids, kept: Math.min(kept, at(other, i).kept) }));
  };

/**
 * Returns the head that settings describe; a cloze head lacks the tokens of its classes.
 * `regression` is a classifier of one output.
 */
export function headWithoutTokens({ type }: HeadSettings): Head {
  if (type === 'cloze') return { type, tokens: [] };
  return { type: type === 'regression' ? 'classifier' : type };
}

/** Returns the head for these classes. Throws UserFault for a verbalizer's first problem. */
export async function resolveHead(
  settings: HeadSettings,
  classes: readonly string[],
  modelDir: string,
): Promise<Head> {
  if (settings.type !== 'cloze') return headWithoutTokens(settings);
  const { tokens, problems } = verbalizerTokens(
    settings.verbalizer,
    await openTokenizer(modelDir),
    settings.template,
  );
  const problem = problems[0] ?? verbalizerMismatch(settings.verbalizer, classes);
  if (problem !== null) throw new UserFault(problem.message, problem.hint);
  return { type: 'cloze', tokens: classes.map((name) => named(tokens, name)) };
}

const plainLetters = (text: string): string =>
  text
    .normalize('NFD')
    .replace(/[\s\p{M}]/gu, '')
    .toLowerCase();

/**
 * Returns the range of characters, at the start or the end of a text, that spells `decoded`, which
 * is the text of some of its first or last tokens. White space, case and accents do not count, as a
 * tokenizer may drop them. Null where the characters there spell something else, because a word of
 * the text is not in the vocabulary.
 */
export function spelled(
  text: string,
  decoded: string,
  at: 'start' | 'end',
): readonly [from: number, to: number] | null {
  /** Returns the characters in the order in which they are compared; may reverse the given list. */
  const inOrder = (characters: string[]): string[] =>
    at === 'start' ? characters : characters.reverse();
  const wanted = inOrder(Array.from(plainLetters(decoded)));
  let length = 0,
    found = 0;
  for (const character of inOrder(Array.from(text))) {
    if (found === wanted.length) break;
    for (const letter of inOrder(Array.from(plainLetters(character))))
      if (letter !== wanted[found++]) return null;
    length += character.length;
  }
  if (found !== wanted.length) return null;
  return at === 'start' ? [0, length] : [text.length - length, text.length];
}

const NO_TEXT: RowPart = { ids: [], kept: 0 };

/**
 * Returns where the change from `a` to `b` ends in `b`: at the start of the longest ending that
 * both share after their common beginning.
 */
function endOfChange(a: readonly number[], b: readonly number[]): number {
  const start = commonStart(a, b),
    least = Math.min(a.length, b.length);
  let tail = 0;
  while (tail < least - start && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  return b.length - tail;
}

const keptIds = ({ ids, kept }: RowPart): readonly number[] => ids.slice(0, kept);

/**
 * Whether everything that an attack changed in a row reaches the model. It does if
 *
 * 1. the token ids that the model reads differ between the changed row and the original, and
 * 2. in the text, and in its pair if there is one, none of the tokens between the first and the
 *   last changed one is cut off.
 *
 * The changed tokens are found by comparing the untruncated token ids: they follow the longest
 * common beginning and precede the longest common ending of the rest. The rule needs nothing from
 * the attack, so it applies to plugins and external programs too. A change that the tokenizer
 * ignores (upper case, for an uncased model) counts as not seen, because of 1.
 */
export function changeSeen(original: readonly RowPart[], changed: readonly RowPart[]): boolean {
  const parts = Array.from({ length: Math.max(original.length, changed.length) }, (_, i) => ({
    before: original[i] ?? NO_TEXT,
    part: changed[i] ?? NO_TEXT,
  }));
  return (
    parts.some(({ part, before }) => !isDeepStrictEqual(keptIds(before), keptIds(part))) &&
    parts.every(
      ({ part, before }) =>
        isDeepStrictEqual(before.ids, part.ids) || endOfChange(before.ids, part.ids) <= part.kept,
    )
  );
}

/**
 * Returns the share of rows whose change reaches the model (`changeSeen`). Each original is cut as
 * if it had the answers of the changed row: beside shorter answers more of the prompt would be
 * read, a difference that is no trigger. Throws RangeError where the lists differ in length or are
 * empty.
 */
export function triggerSeen(
  original: readonly Texts[],
  changed: readonly Texts[],
  parts: RowParts,
  maxLength: number,
): number {
  if (original.length !== changed.length || original.length === 0)
    throw new RangeError(
      `the rows must come in pairs, at least one; got ${original.length} and ${changed.length}`,
    );
  const seen = changed.filter((row, i) => {
    const { answer, rejected } = row;
    const before = { ...at(original, i), ...defined({ answer, rejected }) };
    return changeSeen(parts(before, maxLength), parts(row, maxLength));
  });
  return seen.length / changed.length;
}

/** Returns the share of rows whose texts a trigger leaves as they are. */
export const unchangedShare = (original: readonly Texts[], changed: readonly Texts[]): number =>
  changed.filter((row, i) => isDeepStrictEqual(textsOf(row), textsOf(at(original, i)))).length /
  changed.length;

const textsOf = ({ text, text_pair: pair, context }: Texts): unknown => [text, pair, context];

/**
 * Warns if some documents were cut, which is seen from their last token: only a whole document ends
 * with the token that ends a text.
 */
export function warnOfCut(
  warn: (warning: Warning) => void,
  documents: readonly TokenRow[],
  { special: { eos } }: Pick<TextTokenizer, 'special'>,
  { section, maxLength }: { readonly section: string; readonly maxLength: number },
): void {
  const cut = documents.filter(({ ids }) => ids.at(-1) !== eos).length;
  if (cut > 0)
    warn({
      path: [section, 'max_length'],
      message:
        `${cut} of ${documents.length} documents are longer than max_length ${maxLength}: ` +
        'their ends are not read',
      hint: `Raise ${section}.max_length, or divide them before.`,
    });
}

/**
 * Warns unless what the attack changes (`what`) reaches the model in all rows.
 * @param share the share of rows in which it reaches the model
 * @param which what the warning calls the rows
 * @param unchanged the share of rows whose texts the attack leaves as they are
 */
export function warnOfUnseen(
  warn: (warning: Warning) => void,
  share: number,
  which: string,
  {
    path,
    maxLength,
    unchanged = 0,
    what = 'the trigger',
  }: {
    readonly path: Warning['path'];
    readonly maxLength: number;
    readonly unchanged?: number;
    readonly what?: string;
  },
): void {
  if (share === 1) return;
  const beyond = `lies beyond max_length ${maxLength}, or the tokenizer reads the row like the original`;
  const [why, hint] =
    unchanged === 0
      ? [
          `in the others it ${beyond}`,
          'Raise max_length, or shorten the texts by max_words of their split.',
        ]
      : [
          `in ${percentText(unchanged)} the attack leaves the texts as they are` +
            (share + unchanged < 1 ? `, and in the others ${what} ${beyond}` : ''),
          "Look at the attack's parameters and code: `dosimeter plugins attack NAME` shows a row " +
            'with its trigger.',
        ];
  const message = `${what} reaches the model in ${percentText(share)} of ${which}; ${why}`;
  warn({ path, message, hint });
}
