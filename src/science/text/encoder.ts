/** Rows as a head reads them, and the head that a spec's settings make. */
import { UserFault, type HeadSettings, type Row } from '../../api.ts';
import type { Head, TokenRow } from '../nn/types.ts';
import { clozeEncoder, verbalizerMismatch, verbalizerTokens } from './cloze.ts';
import { openTokenizer, type TextTokenizer } from './tokenizer.ts';

export type RowEncoder = (row: Pick<Row, 'text' | 'text_pair'>, maxLength: number) => TokenRow;

/** `maxLength` tokens a row at most. Throws UserFault where a template is not understood or doesn't fit the rows. */
export function rowEncoder(tokenizer: TextTokenizer, settings: HeadSettings): RowEncoder {
  const encode =
    settings.type === 'classifier' ? tokenizer.encode : clozeEncoder(settings.template, tokenizer);
  return ({ text, text_pair: pair }, maxLength) => encode(text, pair, maxLength);
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
