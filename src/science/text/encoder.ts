/** Rows as a head reads them, and the head that a spec's settings make. */
import { type HeadSettings, type Row, UserFault } from '../../api.ts';
import type { Head, TokenRow } from '../nn/types.ts';
import { clozeEncoder, templateLength, verbalizerMismatch, verbalizerTokens } from './cloze.ts';
import { longestFirst, openTokenizer, type TextTokenizer } from './tokenizer.ts';

export type RowEncoder = (row: Pick<Row, 'text' | 'text_pair'>, maxLength: number) => TokenRow;

/** `maxLength` tokens a row at most. Throws UserFault where a template is not understood or doesn't fit the rows. */
export function rowEncoder(tokenizer: TextTokenizer, settings: HeadSettings): RowEncoder {
  const encode =
    settings.type === 'classifier' ? tokenizer.encode : clozeEncoder(settings.template, tokenizer);
  return ({ text, text_pair: pair }, maxLength) => encode(text, pair, maxLength);
}

/** One text of a row: all its token ids, and how many of them, from the first on, reach the model. */
export interface RowPart {
  readonly ids: readonly number[];
  readonly kept: number;
}

/** A row's text, and its pair where it has one, as the encoder of the same settings cuts them. */
export type RowParts = (row: Pick<Row, 'text' | 'text_pair'>, maxLength: number) => RowPart[];

export function rowParts(tokenizer: TextTokenizer, settings: HeadSettings): RowParts {
  const own = settings.type === 'classifier' ? null : templateLength(settings.template, tokenizer);
  const keep: TextTokenizer['keep'] = (first, second, maxLength) =>
    own === null
      ? tokenizer.keep(first, second, maxLength)
      : longestFirst(first, second ?? 0, maxLength - own);
  return ({ text, text_pair: pair }, maxLength) => {
    const texts = (pair === undefined ? [text] : [text, pair]).map((part) =>
      tokenizer.tokens(part).map(tokenizer.id),
    );
    const kept = keep(texts[0]!.length, texts[1]?.length ?? null, maxLength);
    return texts.map((ids, i) => ({ ids, kept: kept[i]! }));
  };
}

/** The head for these classes, in their order. Throws UserFault with the first thing that is wrong with a verbalizer. */
export async function resolveHead(
  settings: HeadSettings,
  classes: readonly string[],
  modelDir: string,
): Promise<Head> {
  if (settings.type === 'classifier') return settings;
  const { tokens, problems } = verbalizerTokens(settings.verbalizer, await openTokenizer(modelDir));
  const problem = problems[0] ?? verbalizerMismatch(settings.verbalizer, classes);
  if (problem !== null) throw new UserFault(problem.message, problem.hint);
  return { type: 'cloze', tokens: classes.map((name) => tokens.get(name)!) };
}
