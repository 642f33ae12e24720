/** The rows of `dosimeter results`, in the shape of schemas/results.schema.json. Pure. */
import type { JsonObject } from '../api.ts';

export interface ResultRow {
  /** Axis values by full path. */
  readonly cell: JsonObject;
  /** The axis values of its other names, where the grid writes one training in several ways. */
  readonly also?: readonly JsonObject[];
  readonly seed: number;
  readonly stage: string;
  readonly metric: string;
  readonly value: number;
}

export interface CellMetrics {
  readonly cell: JsonObject;
  readonly also?: readonly JsonObject[];
  readonly seed: number;
  /** Stage kind → metric → value, as in each stage's metrics.json. */
  readonly metrics: { readonly [stage: string]: { readonly [metric: string]: number } };
}

/**
 * Returns one row for each metric, with the cells in their order. Values that are not finite are
 * left out, since JSON can't hold them.
 */
export function collectResults(cells: readonly CellMetrics[]): ResultRow[] {
  return cells.flatMap(({ cell, also = [], seed, metrics }) =>
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
        })),
    ),
  );
}
