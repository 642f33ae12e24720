/** Finds the faults of a completion template before anything runs. */
import { type Problem, problemOf } from '../../api.ts';
import { readConfig } from '../models/head.ts';
import type { Architecture } from '../models/types.ts';
import { completionEncoder } from '../text/completion.ts';
import type { TextTokenizer } from '../text/tokenizer.ts';

/**
 * Returns a problem where the model lacks positions for a prompt of the greatest length and all
 * that may be written after it. Throws UserFault where its config.json is at fault.
 * @param longest `max_length`  @param written `max_new_tokens`
 */
export async function checkWritten(
  modelDir: string,
  architecture: Architecture,
  { longest, written }: { readonly longest: number; readonly written: number },
): Promise<Problem[]> {
  const positions = architecture.maxPositions(
    architecture.parseConfig(await readConfig(modelDir), 2),
  );
  // A prompt that is too long by itself is a problem of its own.
  if (longest > positions || longest + written <= positions) return [];
  return [
    {
      path: ['evaluate', 'max_new_tokens'],
      message:
        `a prompt of ${longest} tokens and ${written} new ones do not fit the model, which has ` +
        `${positions} positions`,
      hint:
        written < positions
          ? `Write evaluate.max_length: ${positions - written}, which cuts prompts, or fewer new tokens.`
          : `max_new_tokens can be at most ${positions - 1}.`,
    },
  ];
}

/** A prompt and an answer of one word each, which any template and tokenizer can show. */
const SHORTEST = { text: 'a', answer: 'a' };

/** The ids of an answer under a template, without the token that ends it. */
export function answerIds(template: string, tokenizer: TextTokenizer, answer: string): Int32Array {
  const row = completionEncoder(tokenizer, template)({ ...SHORTEST, answer }, Infinity);
  return row.ids.slice(row.answer, -1);
}

/**
 * The problems of a template with this tokenizer: it can't be read, the tokenizer has no chat
 * template or no end of text, or it leaves no room for a prompt and its answer.
 * @param maxLength null where no row is read
 */
export function checkCompletion(
  template: string,
  tokenizer: TextTokenizer,
  maxLength: number | null,
): Problem[] {
  const path = ['head', 'template'];
  let own: number, answer: number;
  try {
    const encode = completionEncoder(tokenizer, template);
    const row = encode(SHORTEST, Infinity);
    const [text] = encode.parts(SHORTEST, Infinity);
    own = row.answer - (text?.ids.length ?? 0);
    answer = row.ids.length - row.answer;
  } catch (error) {
    return [problemOf(error, path)];
  }
  if (maxLength === null || own + 1 + answer <= maxLength) return [];
  return [
    {
      path,
      message:
        `the template takes ${own} tokens by itself, and max_length is ${maxLength}, ` +
        'which leaves no room for a prompt and its answer',
      hint: 'Shorten the template, or raise train.max_length.',
    },
  ];
}
