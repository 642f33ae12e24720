/** Selects metrics by name or pattern. Pure. */
import type { ResultRow } from './results.ts';

type Named = Pick<ResultRow, 'stage' | 'metric'>;

export const metricName = ({ stage, metric }: Named): string => `${stage}.${metric}`;

/** Returns the distinct metrics, in the order of the rows. */
export function metricsIn(rows: readonly Named[]): readonly Named[] {
  const found = new Map<string, Named>();
  for (const { stage, metric } of rows)
    found.set(JSON.stringify([stage, metric]), { stage, metric });
  return [...found.values()];
}

const globOf = (pattern: string): RegExp =>
  new RegExp(
    `^${pattern
      .split('*')
      .map((text) => text.replaceAll(/[\\^$.|?+()[\]{}]/g, '\\$&'))
      .join('.*')}$`,
  );

/**
 * Selects the metrics that the patterns name (`asr`, `evaluate.asr`, `fisher.*`), pattern by
 * pattern. Those of one pattern keep the order of the rows.
 * @param patterns names, in which `*` stands for any characters
 * @returns the metrics that were found, each once, and the patterns that match nothing
 */
export function selectMetrics(
  rows: readonly Named[],
  patterns: readonly string[],
): { readonly metrics: readonly Named[]; readonly unknown: readonly string[] } {
  const known = metricsIn(rows),
    metrics = new Set<Named>(),
    unknown: string[] = [];
  for (const pattern of patterns) {
    const glob = globOf(pattern);
    const named = known.filter((one) => glob.test(one.metric) || glob.test(metricName(one)));
    if (named.length === 0) unknown.push(pattern);
    for (const one of named) metrics.add(one);
  }
  return { metrics: [...metrics], unknown };
}
