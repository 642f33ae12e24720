/** Finds the faults of a completion template before anything runs. */
import { type Problem, problemOf } from '../../api.ts';
import { completionEncoder } from '../text/completion.ts';
import type { TextTokenizer } from '../text/tokenizer.ts';

/** A prompt and an answer of one word each, which any template and tokenizer can show. */
const SHORTEST = { text: 'a', answer: 'a' };

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
