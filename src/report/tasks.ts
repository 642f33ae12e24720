/** The named data sets that cells are evaluated on, and the metrics by which each is scored. */
import type { Condition } from './conditions.ts';
import { distinct } from './groups.ts';
import type { MetricNote } from './metrics.ts';
import type { TaskFacts } from './types.ts';

type Metric = Pick<MetricNote, 'stage' | 'metric'>;

/** Returns the data set's name if it is scored by this metric. */
export const taskBeside = (
  task: TaskFacts | undefined,
  { stage, metric }: Metric,
): { readonly task?: string } =>
  task !== undefined && stage === 'evaluate' && task.metrics.includes(metric)
    ? { task: task.dataset }
    : {};

/** Whether the data set of any of the conditions is scored by this metric. */
export const isScore = (conditions: readonly Condition[], metric: Metric): boolean =>
  conditions.some(({ cells }) =>
    cells.some(({ task }) => taskBeside(task, metric).task !== undefined),
  );

/** ` mrpc is scored by f1 and accuracy.`, for captions. Empty if no data set is known by name. */
export function taskNote(conditions: readonly Condition[]): string {
  const cells = conditions.flatMap((condition) => condition.cells);
  const sentences = cells.flatMap(({ task }) =>
    task === undefined ? [] : [` ${task.dataset} is scored by ${task.metrics.join(' and ')}.`],
  );
  return distinct(sentences).join('');
}
