/** The named data sets that cells are evaluated on, and the metrics by which each is scored. */
import type { Condition } from './conditions.ts';
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
