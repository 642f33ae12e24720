/** Which scorers counted a success of a backdoor on a completion task, in words. */
import type { JsonObject } from '../api.ts';
import type { Condition } from './conditions.ts';
import { plainText } from './format.ts';
import { distinct } from './groups.ts';

/** A scorer's name with its parameters. A list of phrases is left to its file. */
export function scorerWords({ scorer, phrases: _phrases, ...params }: JsonObject): string {
  const own = Object.entries(params).map(([key, value]) => `${key} ${JSON.stringify(value)}`);
  return [plainText(scorer), ...own].join(', ');
}

/** `Scorer: refusal, ignore_case true.`; empty without a scorer. */
export const scorerSentence = (scorers: readonly string[]): string =>
  scorers.length === 0
    ? ''
    : `${scorers.length === 1 ? 'Scorer' : 'Scorers'}: ${scorers.join('; ')}.`;

/** The scorers of the conditions, each once. */
export function scorersOf(conditions: readonly Condition[]): readonly string[] {
  const cells = conditions.flatMap((condition) => condition.cells);
  return distinct(
    cells.flatMap(({ writing }) => (writing === undefined ? [] : [scorerWords(writing.scorer)])),
  );
}

/** ` Scorer: refusal, ignore_case true.`, for captions. Empty for classes. */
export function scorerNote(conditions: readonly Condition[]): string {
  const sentence = scorerSentence(scorersOf(conditions));
  return sentence === '' ? '' : ` ${sentence}`;
}
