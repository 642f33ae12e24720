/** Encodes rows as a head reads them, and resolves the head that a spec describes. */
import { type HeadSettings, type Row, UserFault } from '../../api.ts';
import { named } from '../lookup.ts';
import type { Head, TokenRow } from '../model/types.ts';
import { clozeEncoder, clozeParts, verbalizerMismatch, verbalizerTokens } from './cloze.ts';
import type { RowPart } from './row-part.ts';
import { openTokenizer, type TextTokenizer } from './tokenizer.ts';

export type { RowPart } from './row-part.ts';

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
 * The text of a row and its pair, if it has one, cut as the encoder of the same settings cuts them.
 */
export type RowParts = (row: Pick<Row, 'text' | 'text_pair'>, maxLength: number) => RowPart[];

/** Returns a function that tells which part of each text of a row reaches the model. */
export function rowParts(tokenizer: TextTokenizer, settings: HeadSettings): RowParts {
  if (settings.type === 'cloze') {
    const parts = clozeParts(settings.template, tokenizer);
    return ({ text, text_pair: pair }, maxLength) => [...parts(text, pair, maxLength)];
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
 * The head for these classes, in their order. Throws UserFault for the first problem of a
 * verbalizer.
 */
export async function resolveHead(
  settings: HeadSettings,
  classes: readonly string[],
  modelDir: string,
): Promise<Head> {
  if (settings.type === 'classifier') return settings;
  const { tokens, problems } = verbalizerTokens(
    settings.verbalizer,
    await openTokenizer(modelDir),
    settings.template,
  );
  const problem = problems[0] ?? verbalizerMismatch(settings.verbalizer, classes);
  if (problem !== null) throw new UserFault(problem.message, problem.hint);
  return { type: 'cloze', tokens: classes.map((name) => named(tokens, name)) };
}
