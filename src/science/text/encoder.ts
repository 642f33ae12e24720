/** Encodes rows as a head reads them, and resolves the head that a spec describes. */
import { type HeadSettings, type Row, UserFault } from '../../api.ts';
import { named } from '../lookup.ts';
import type { Head, TokenRow } from '../model/types.ts';
import { clozeEncoder, templateLength, verbalizerMismatch, verbalizerTokens } from './cloze.ts';
import { longestFirst, openTokenizer, type TextTokenizer } from './tokenizer.ts';

/** The token ids of a row, at most `maxLength` of them. */
export type RowEncoder = (row: Pick<Row, 'text' | 'text_pair'>, maxLength: number) => TokenRow;

/**
 * The encoder for a head. Throws UserFault where a template cannot be read. The encoder throws it
 * where the template does not fit a row.
 */
export function rowEncoder(tokenizer: TextTokenizer, settings: HeadSettings): RowEncoder {
  const encode =
    settings.type === 'classifier' ? tokenizer.encode : clozeEncoder(settings.template, tokenizer);
  return ({ text, text_pair: pair }, maxLength) => encode(text, pair, maxLength);
}

/**
 * One text of a row: all of its token ids, and how many of them, counted from the first, reach the
 * model.
 */
export interface RowPart {
  readonly ids: readonly number[];
  readonly kept: number;
}

/**
 * The text of a row and its pair, if it has one, cut as the encoder of the same settings cuts them.
 */
export type RowParts = (row: Pick<Row, 'text' | 'text_pair'>, maxLength: number) => RowPart[];

/** Returns a function that tells which part of each text of a row reaches the model. */
export function rowParts(tokenizer: TextTokenizer, settings: HeadSettings): RowParts {
  const own = settings.type === 'classifier' ? null : templateLength(settings.template, tokenizer);
  const keep: TextTokenizer['keep'] = (first, second, maxLength) =>
    own === null
      ? tokenizer.keep(first, second, maxLength)
      : longestFirst(first, second ?? 0, maxLength - own);
  return ({ text, text_pair: pair }, maxLength) => {
    const idsOf = (part: string): number[] => tokenizer.tokens(part).map(tokenizer.id);
    const first = idsOf(text),
      second = pair === undefined ? null : idsOf(pair);
    const [keptFirst, keptSecond] = keep(first.length, second?.length ?? null, maxLength);
    return [
      { ids: first, kept: keptFirst },
      ...(second === null ? [] : [{ ids: second, kept: keptSecond }]),
    ];
  };
}

/**
 * The head for these classes, in their order. Throws UserFault for the first problem of a
 * verbalizer.
 */
export async function resolveHead(
  settings: HeadSettings,
  classes: readonly string[],
  modelDir: string,
): Promise<Head> {
  if (settings.type === 'classifier') return settings;
  if (settings.type === 'causal-lm') throw new UserFault('a causal-lm head is not supported yet');
  const { tokens, problems } = verbalizerTokens(settings.verbalizer, await openTokenizer(modelDir));
  const problem = problems[0] ?? verbalizerMismatch(settings.verbalizer, classes);
  if (problem !== null) throw new UserFault(problem.message, problem.hint);
  return { type: 'cloze', tokens: classes.map((name) => named(tokens, name)) };
}
