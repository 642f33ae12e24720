/** Gathers the metrics of the finished stages of one kind. */
import { voidReason } from '../report/evidence.ts';
import { ACCURACY, METRICS } from '../report/metrics.ts';
import type { Follower } from './follower.ts';
import type { Metrics } from './stored.ts';
import { readMetrics } from './stored.ts';
import type { Results } from './wire.ts';

const MOST_ROWS = 10_000,
  MOST_COLUMNS = 40,
  AT_ONCE = 16;

export interface ResultsReader {
  /** @param group the name of the kind's box in the graph */
  read(group: string): Promise<Results>;
}

/** Reads each entry's metrics once. */
export function createResultsReader(
  follower: Follower,
  storeOf: () => string | null,
): ResultsReader {
  const known = new Map<string, Promise<Metrics>>();
  const metricsOf = (store: string, key: string): Promise<Metrics> => {
    const found = known.get(key) ?? readMetrics(store, key);
    if (known.size < MOST_ROWS) known.set(key, found);
    return found;
  };
  return {
    async read(group) {
      const store = storeOf();
      const finished = [...follower.record.stages.entries()].flatMap(([index, stage]) =>
        stage.group === group && stage.key !== null ? [{ index, key: stage.key }] : [],
      );
      if (store === null) return { metrics: [], rows: [], reasons: [], left: finished.length };
      const shown = finished.slice(0, MOST_ROWS);
      const found: (readonly [number, Metrics])[] = [];
      for (let start = 0; start < shown.length; start += AT_ONCE)
        found.push(
          ...(await Promise.all(
            shown
              .slice(start, start + AT_ONCE)
              .map(async ({ index, key }) => [index, await metricsOf(store, key)] as const),
          )),
        );
      const metrics = columnsOf(found.map(([, values]) => values));
      const having = found.filter(([, values]) => values.size > 0);
      return {
        metrics,
        rows: having.map(([index, values]) => [
          index,
          metrics.map((name) => values.get(name) ?? null),
        ]),
        reasons: having.map(([, values]) => reasonsOf(group, values)),
        left: finished.length - shown.length,
      };
    },
  };
}

/** Returns why numbers of an evaluation are not evidence, by metric. */
function reasonsOf(group: string, values: Metrics): Results['reasons'][number] {
  if (group !== ACCURACY.stage) return {};
  const cell = { metrics: { [ACCURACY.stage]: Object.fromEntries(values) } };
  return Object.fromEntries(
    [...values.keys()].flatMap((metric) => {
      const reason = voidReason(cell, { metric });
      return reason === null ? [] : [[metric, reason]];
    }),
  );
}

/** Returns the names of the metrics: first those that the report shows, in its order. */
function columnsOf(found: readonly Metrics[]): string[] {
  const names = new Set<string>();
  for (const values of found)
    for (const name of values.keys()) if (names.size < 300) names.add(name);
  const order = new Map(METRICS.map(({ metric }, index) => [metric, index]));
  const rank = (name: string): number => order.get(name) ?? METRICS.length;
  return [...names].sort((a, b) => rank(a) - rank(b)).slice(0, MOST_COLUMNS);
}
