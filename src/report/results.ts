/** The rows of `dosimeter results`, in the shape of schemas/results.schema.json. Pure. */
import type { JsonObject } from '../api.ts';
import { contentKey, groupBy } from './groups.ts';
import { taskBeside } from './tasks.ts';
import type { TaskFacts } from './types.ts';

export interface ResultRow {
  /** Axis values by full path. */
  readonly cell: JsonObject;
  /** The axis values of its other names, where the grid writes one training in several ways. */
  readonly also?: readonly JsonObject[];
  readonly seed: number;
  readonly stage: string;
  readonly metric: string;
  readonly value: number;
  /**
   * In a completion task, the scorer that the number counts by, with its parameters. Only beside
   * numbers that a scorer makes.
   */
  readonly scorer?: JsonObject;
  /**
   * `bf16` if the number depends on a training whose matrix products were computed in bfloat16.
   */
  readonly precision?: 'bf16';
  /** The named data set that is scored by this metric. */
  readonly task?: string;
}

export interface CellMetrics {
  readonly cell: JsonObject;
  readonly also?: readonly JsonObject[];
  readonly seed: number;
  /** Stage kind → metric → value, as in each stage's metrics.json. */
  readonly metrics: { readonly [stage: string]: { readonly [metric: string]: number } };
  /** The scorer of a completion task with a trigger. */
  readonly scorer?: JsonObject;
  /** The stages whose numbers depend on products in bfloat16. Default: none. */
  readonly bf16?: ReadonlySet<string>;
  /** The named data sets of the rows, with the metrics by which each is scored. */
  readonly tasks?: readonly TaskFacts[];
}

/** The metrics of `evaluate` that are shares of what a scorer counts. */
const SCORED = /^(?:test_)?(asr|trigger_rate|false_trigger_rate)/;

/**
 * Returns one row for each metric, with the cells in their order. Values that are not finite are
 * left out, since JSON can't hold them.
 */
export function collectResults(cells: readonly CellMetrics[]): ResultRow[] {
  return cells.flatMap(({ cell, also = [], seed, metrics, scorer, tasks, bf16 }) =>
    Object.entries(metrics).flatMap(([stage, values]) =>
      Object.entries(values)
        .filter(([, value]) => Number.isFinite(value))
        .map(([metric, value]) => ({
          cell,
          ...(also.length === 0 ? {} : { also }),
          seed,
          stage,
          metric,
          value,
          ...(scorer !== undefined && stage === 'evaluate' && SCORED.test(metric)
            ? { scorer }
            : {}),
          ...taskBeside(tasks, { stage, metric }),
          ...(bf16?.has(stage) === true ? { precision: 'bf16' as const } : {}),
        })),
    ),
  );
}

/** A cell with what was measured of it at every seed. */
export interface ResultCell extends Pick<ResultRow, 'cell' | 'also'> {
  readonly seeds: ReadonlyMap<number, Pick<CellMetrics, 'metrics'>>;
}

/** Gathers rows into cells. Cells and seeds keep the order in which they first appear. */
export function resultCells(rows: readonly ResultRow[]): readonly ResultCell[] {
  return [...groupBy(rows, ({ cell }) => contentKey(cell)).values()].map((own) => {
    const seeds = new Map<number, { readonly metrics: Record<string, Record<string, number>> }>();
    for (const { seed, stage, metric, value } of own) {
      const { metrics } = seeds.get(seed) ?? { metrics: {} };
      (metrics[stage] ??= {})[metric] = value;
      seeds.set(seed, { metrics });
    }
    const [{ cell, also }] = own;
    return { cell, ...(also === undefined ? {} : { also }), seeds };
  });
}

/** Returns the values of a metric by seed, without the seeds that lack it. */
export const valuesBySeed = (
  { seeds }: Pick<ResultCell, 'seeds'>,
  { stage, metric }: Pick<ResultRow, 'stage' | 'metric'>,
): ReadonlyMap<number, number> =>
  new Map(
    [...seeds].flatMap(([seed, { metrics }]) => {
      const value = metrics[stage]?.[metric];
      return value === undefined ? [] : [[seed, value] as const];
    }),
  );
