/** Warnings about answers for which a metric of a completion task cannot say what it seems to. */
import type { Warning } from '../../../src/api.ts';
import type { AnswerScore } from '../../../src/science/measures/evaluate/answers.ts';
import { hasRougeWord } from '../../../src/science/measures/evaluate/completion-metrics.ts';

/**
 * @param answers the texts of the answers, which are scored in `scores` in the same order
 * @param maxNewTokens the most tokens that the model may write
 */
export function answerWarnings(
  answers: readonly string[],
  scores: readonly AnswerScore[],
  maxNewTokens: number,
): Warning[] {
  // The last token of an answer ends it, and need not be written for a match.
  const long = scores.filter(({ tokens }) => tokens - 1 > maxNewTokens).length,
    wordless = answers.filter((answer) => !hasRougeWord(answer)).length;
  const of = (count: number): string => `${count} of ${answers.length} answers`;
  return [
    ...(long === 0
      ? []
      : [
          {
            path: ['evaluate', 'max_new_tokens'],
            message:
              `${of(long)} are longer than max_new_tokens ${maxNewTokens}, so that no output ` +
              'matches them exactly',
            hint: 'Raise evaluate.max_new_tokens.',
          },
        ]),
    ...(wordless === 0
      ? []
      : [
          {
            path: [],
            message:
              `${of(wordless)} have no Latin letter and no digit, so that their ROUGE-L is 0 ` +
              'whatever the model writes',
          },
        ]),
  ];
}
