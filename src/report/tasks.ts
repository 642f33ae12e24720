/** The named data sets that cells are evaluated on, and the metrics by which each is scored. */
import type { JsonObject } from '../api.ts';
import type { Condition } from './conditions.ts';
import { plainText } from './format.ts';
import { distinct } from './groups.ts';
import type { MetricNote } from './metrics.ts';
import type { TaskFacts } from './types.ts';

type Metric = Pick<MetricNote, 'stage' | 'metric'>;

/** Returns the name of the data set that is scored by this metric, if one is. */
export function taskBeside(
  tasks: readonly TaskFacts[] = [],
  { stage, metric }: Metric,
): { readonly task?: string } {
  const found = tasks.find(({ metrics }) => metrics.includes(metric));
  return found === undefined || stage !== 'evaluate' ? {} : { task: found.dataset };
}

/** Whether the data set of any of the conditions is scored by this metric. */
export const isScore = (conditions: readonly Condition[], metric: Metric): boolean =>
  conditions.some(({ cells }) =>
    cells.some(({ tasks }) => taskBeside(tasks, metric).task !== undefined),
  );

/**
 * ` mrpc is scored by f1 and accuracy.`, for the caption of a table of these metrics. Empty if no
 * data set is scored by any of them.
 */
export function taskNote(conditions: readonly Condition[], shown: readonly Metric[]): string {
  const names = new Set(shown.map(({ metric }) => metric));
  const cells = conditions.flatMap((condition) => condition.cells);
  const sentences = cells.flatMap(({ tasks = [] }) =>
    tasks.flatMap(({ dataset, metrics }) => {
      const own = metrics.filter((metric) => names.has(metric));
      return own.length === 0 ? [] : [` ${dataset} is scored by ${own.join(' and ')}.`];
    }),
  );
  return distinct(sentences).join('');
}

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
