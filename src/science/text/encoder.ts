/** Encodes rows as a head reads them, and resolves the head that a spec describes. */
import { type HeadSettings, type Row, UserFault } from '../../api.ts';
import { named } from '../../base/lookup.ts';
import type { Head, TokenRow } from '../models/types.ts';
import { clozeEncoder, clozeParts, verbalizerMismatch, verbalizerTokens } from './cloze.ts';
import { type AnsweredRow, completionEncoder } from './completion.ts';
import type { RowPart } from './row-part.ts';
import { openTokenizer, type TextTokenizer } from './tokenizer.ts';

export type { RowPart } from './row-part.ts';

/** What a model reads of a row. */
export type Texts = Pick<Row, 'text' | 'text_pair' | 'answer' | 'context'>;

/** The token ids of a row, at most `maxLength` of them. */
export type RowEncoder = (row: Texts, maxLength: number) => TokenRow;

/** A row of a completion task with its answer. Throws where it has none. */
function answered({ answer, ...row }: Texts): AnsweredRow {
  if (answer === undefined) throw new Error('a row for a causal-lm head has no answer');
  return { ...row, answer };
}

/**
 * The encoder for a head. Throws UserFault where a template cannot be read. The encoder throws it
 * where the template does not fit a row.
 */
export function rowEncoder(tokenizer: TextTokenizer, settings: HeadSettings): RowEncoder {
  if (settings.type === 'causal-lm') {
    const encode = completionEncoder(tokenizer, settings.template);
    return (row, maxLength) => encode(answered(row), maxLength);
  }
  if (settings.type === 'cloze') {
    const encode = clozeEncoder(settings.template, tokenizer);
    return ({ text, text_pair: pair }, maxLength) => encode(text, pair, maxLength);
  }
  return ({ text, text_pair: pair }, maxLength) => tokenizer.encode(text, pair, maxLength);
}

/**
 * The text of a row and its pair, if it has one, cut as the encoder of the same settings cuts them.
 * Under a causal-lm head a row without an answer is cut as a prompt that the model is to continue.
 */
export type RowParts = (row: Texts, maxLength: number) => RowPart[];

/** Returns a function that tells which part of each text of a row reaches the model. */
export function rowParts(tokenizer: TextTokenizer, settings: HeadSettings): RowParts {
  if (settings.type === 'causal-lm') {
    return completionEncoder(tokenizer, settings.template).parts;
  }
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

/** Also of regression, for which transformers' classifiers have one output. */
const CLASSIFIER: Head = { type: 'classifier' };

/**
 * The head for these classes, in their order. Throws UserFault for the first problem of a
 * verbalizer.
 */
export async function resolveHead(
  settings: HeadSettings,
  classes: readonly string[],
  modelDir: string,
): Promise<Head> {
  if (settings.type === 'classifier' || settings.type === 'regression') return CLASSIFIER;
  if (settings.type === 'causal-lm') return { type: settings.type };
  const { tokens, problems } = verbalizerTokens(
    settings.verbalizer,
    await openTokenizer(modelDir),
    settings.template,
  );
  const problem = problems[0] ?? verbalizerMismatch(settings.verbalizer, classes);
  if (problem !== null) throw new UserFault(problem.message, problem.hint);
  return { type: 'cloze', tokens: classes.map((name) => named(tokens, name)) };
}
