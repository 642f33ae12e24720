/** `dosimeter results`: the shape that schemas/results.schema.json fixes. Pure. */
import type { JsonObject } from '../api.ts';

export interface ResultRow {
  /** Axis values by full path. */
  readonly cell: JsonObject;
  /** The same of its other names, where it has any: one training, under several names. */
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

/** One row a metric, cells in their order; values that are not finite numbers have no JSON and are left out. */
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
