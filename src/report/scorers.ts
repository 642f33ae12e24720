/** Which scorers counted a success of a backdoor on a completion task, in words. */
import type { Condition } from './conditions.ts';
import { distinct } from './groups.ts';

/** The scorers' names with their parameters, each once. A list of phrases is left to its file. */
export function scorersOf(conditions: readonly Condition[]): readonly string[] {
  const cells = conditions.flatMap((condition) => condition.cells);
  return distinct(
    cells.flatMap(({ writing }) => {
      if (writing === undefined) return [];
      const { scorer: name, phrases: _phrases, ...params } = writing.scorer;
      const own = Object.entries(params).map(([key, value]) => `${key} ${JSON.stringify(value)}`);
      return [[name, ...own].join(', ')];
    }),
  );
}

/** ` Scorer: refusal, ignore_case true.`, for captions. Empty for classes. */
export function scorerNote(conditions: readonly Condition[]): string {
  const scorers = scorersOf(conditions);
  if (scorers.length === 0) return '';
  return ` ${scorers.length === 1 ? 'Scorer' : 'Scorers'}: ${scorers.join('; ')}.`;
}
