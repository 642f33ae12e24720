/** The rows of `dosimeter results`, in the shape of schemas/results.schema.json. Pure. */
import type { AttackTarget, JsonObject } from '../api.ts';
import { defined } from '../base/defined.ts';
import { compareRowCounts, type Judgement, type RowCount, voidReason } from './evidence.ts';
import { contentKey, groupBy } from './groups.ts';
import { ACCURACY, type Metric, metricName } from './metrics.ts';
import { taskField } from './tasks.ts';
import type { TaskFacts } from './types.ts';

export interface ResultRow {
  /** Axis values by full path. */
  readonly cell: JsonObject;
  /** The axis values of the cell's other names, if the grid writes one training in several ways. */
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
   * Set if the number depends on something that is not in float32: `bf16` (products of a training),
   * `bf16 weights`, `nf4`, `int8` (frozen weights), or several of them.
   */
  readonly precision?: string;
  /** The named data set that is scored by this metric. */
  readonly task?: string;
  /** The class that the cell's attack leads to. */
  readonly target?: AttackTarget;
  readonly evidence: Judgement;
  /** The comparison of the number, if one was asked for and is possible. */
  readonly against?: RowComparison;
}

/** The number beside what it is compared with, and the comparison over the cell's seeds. */
export interface RowComparison {
  /** The number, at the same seed, of what the cell is compared with. */
  readonly value: number;
  /** The row's number − `value`; null if the pair is not evidence. */
  readonly difference: number | null;
  /** Why the pair is not evidence; null if it is. */
  readonly excluded: string | null;
  /** How many pairs of the cell are evidence. */
  readonly pairs: number;
  /** The p-value of no difference, without and with Holm's correction, as in `Compared`. */
  readonly p: number | null;
  readonly p_holm: number | null;
}

export interface CellMetrics {
  readonly cell: JsonObject;
  readonly also?: readonly JsonObject[];
  readonly seed: number;
  /** Stage kind → metric → value, as in each stage's metrics.json. */
  readonly metrics: { readonly [stage: string]: { readonly [metric: string]: number } };
  /** The scorers of a completion task with a trigger, that of `evaluate.scorer` first. */
  readonly scorers?: readonly JsonObject[];
  /** Stage kind → what its numbers depend on that is not in float32. Default: nothing. */
  readonly precision?: { readonly [stage: string]: string };
  /** The named data sets of the rows, with the metrics by which each is scored. */
  readonly tasks?: readonly TaskFacts[];
  /** The class that the cell's attack leads to. */
  readonly target?: AttackTarget;
  /** What the stages behind each stage's numbers were warned of. Default: nothing. */
  readonly warnings?: { readonly [stage: string]: readonly string[] };
}

/**
 * The metrics of `evaluate` that are shares of what a scorer counts: `asr_clean`, or
 * `asr_clean.NAME` if the scorer NAME is not the first.
 */
const SCORED = /^(?:test_)?(?:asr|trigger_rate|false_trigger_rate)\w*(?:\.(?<name>.+))?$/;

/** Returns the scorer that a metric counts by, or undefined if it counts by none. */
function scorerOf(metric: string, scorers: readonly JsonObject[]): JsonObject | undefined {
  const scored = SCORED.exec(metric);
  if (scored === null) return undefined;
  // A trigger that training never shows is named behind the scorer: `asr.refusal.trigger.end`.
  const name = scored.groups?.['name']?.replace(/(?:^|\.)trigger\..*$/, '') || undefined;
  return name === undefined
    ? scorers[0]
    : scorers.find(({ scorer, name: own = scorer }) => own === name);
}

/**
 * Counts, among the cells of the same name, one for each seed, those that have a metric.
 * @returns a function that gives this count, and how many of the planned cells lack the metric
 */
function countSeeds(cells: readonly CellMetrics[]) {
  const planned = new Map<string, number>(),
    having = new Map<string, number>();
  const add = (counts: Map<string, number>, name: string): void =>
    void counts.set(name, (counts.get(name) ?? 0) + 1);
  const keys = new Map(cells.map((one) => [one, contentKey(one.cell)]));
  const nameOf = (one: CellMetrics, stage: string, metric: string): string =>
    `${keys.get(one) ?? ''} ${metricName({ stage, metric })}`;
  for (const one of cells) {
    add(planned, keys.get(one) ?? '');
    for (const [stage, values] of Object.entries(one.metrics))
      for (const [metric, value] of Object.entries(values))
        if (Number.isFinite(value)) add(having, nameOf(one, stage, metric));
  }
  return (one: CellMetrics, stage: string, metric: string): Pick<Judgement, 'n' | 'missing'> => {
    const n = having.get(nameOf(one, stage, metric)) ?? 0;
    return { n, missing: (planned.get(keys.get(one) ?? '') ?? n) - n };
  };
}

/**
 * Returns one row for each metric of each cell, in the order of the cells. Values that are not
 * finite are left out, since JSON can't hold them.
 * @param cells all planned cells, those without any number included: they are missing
 */
export function collectResults(cells: readonly CellMetrics[]): ResultRow[] {
  const seedsOf = countSeeds(cells),
    fewerRows = compareRowCounts(cells, ({ cell }) => cell);
  return cells.flatMap((one) => {
    const {
      cell,
      also = [],
      seed,
      metrics,
      scorers = [],
      tasks,
      target,
      precision = {},
      warnings = {},
    } = one;
    return Object.entries(metrics).flatMap(([stage, values]) =>
      Object.entries(values)
        .filter(([, value]) => Number.isFinite(value))
        .map(([metric, value]): ResultRow => {
          const scorer = stage === ACCURACY.stage ? scorerOf(metric, scorers) : undefined;
          const reason = stage === ACCURACY.stage ? voidReason(one, { metric }) : null;
          return {
            cell,
            ...defined({ also: also.length === 0 ? undefined : also }),
            seed,
            stage,
            metric,
            value,
            ...defined({ scorer }),
            ...taskField(tasks, { stage, metric }),
            ...defined({
              target,
              precision: precision[stage],
            }),
            evidence: {
              counts: reason === null,
              reasons: reason === null ? [] : [reason],
              ...seedsOf(one, stage, metric),
              warnings: warnings[stage] ?? [],
              ...defined({ fewer_rows: fewerRows(one, { stage, metric }) ?? undefined }),
            },
          };
        }),
    );
  });
}

/** A cell with what was measured of it at every seed. */
export interface ResultCell extends Pick<ResultRow, 'cell' | 'also'> {
  readonly seeds: ReadonlyMap<number, Pick<CellMetrics, 'metrics'>>;
  readonly planned: number;
  /** By metric (`metricName`): one reason for each seed whose number is not evidence. */
  readonly reasons: ReadonlyMap<string, readonly string[]>;
  /** By metric: on how many rows it was measured, if other cells have it on more. */
  readonly fewerRows: ReadonlyMap<string, RowCount>;
}

/** Returns the axis values of a cell, under each of its names. */
export const cellNames = ({
  cell,
  also = [],
}: Pick<ResultRow, 'cell' | 'also'>): readonly JsonObject[] => [cell, ...also];

/** Gathers rows into cells. Cells and seeds keep the order in which they first appear. */
export function resultCells(rows: readonly ResultRow[]): readonly ResultCell[] {
  return [...groupBy(rows, ({ cell }) => contentKey(cell)).values()].map((own) => {
    const seeds = new Map<number, { readonly metrics: Record<string, Record<string, number>> }>(),
      reasons = new Map<string, readonly string[]>(),
      fewerRows = new Map<string, RowCount>();
    for (const row of own) {
      const { seed, stage, metric, value, evidence } = row;
      const { metrics } = seeds.get(seed) ?? { metrics: {} };
      (metrics[stage] ??= {})[metric] = value;
      seeds.set(seed, { metrics });
      if (evidence.fewer_rows) fewerRows.set(metricName(row), evidence.fewer_rows);
      if (!evidence.counts)
        reasons.set(metricName(row), [
          ...(reasons.get(metricName(row)) ?? []),
          ...evidence.reasons,
        ]);
    }
    const [{ cell, also, evidence }] = own;
    const planned = evidence.n + evidence.missing;
    return { cell, ...defined({ also }), seeds, planned, reasons, fewerRows };
  });
}

/** Returns the values of a metric by seed, without the seeds that lack it. */
export const valuesBySeed = (
  { seeds }: Pick<ResultCell, 'seeds'>,
  { stage, metric }: Metric,
): ReadonlyMap<number, number> =>
  new Map(
    [...seeds].flatMap(([seed, { metrics }]) => {
      const value = metrics[stage]?.[metric];
      return value === undefined ? [] : [[seed, value] as const];
    }),
  );

/** Returns ` (n = 1 of 5)` for a number of fewer seeds than planned; else ''. */
export const seedsNote = (n: number, planned: number): string =>
  n < planned ? ` (n = ${n} of ${planned})` : '';
