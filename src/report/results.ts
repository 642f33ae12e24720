/** The rows of `dosimeter results`, in the shape of schemas/results.schema.json. Pure. */
import type { AttackTarget, JsonObject } from '../api.ts';
import { defined } from '../base/defined.ts';
import {
  compareRowCounts,
  type Judgement,
  type RowCount,
  scorerSuffix,
  voidReason,
} from './evidence.ts';
import { contentKey, groupBy } from './groups.ts';
import { studiedAttack } from './labels.ts';
import { ACCURACY, type Metric, metricName } from './metrics.ts';
import { type ScorerUse, scorerWords, taskField } from './tasks.ts';
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
  /** In a completion task, the scorer that counts the successes in this number, with parameters. */
  readonly scorer?: JsonObject;
  /**
   * Set if the number depends on something that is not in float32: `bf16` (products of a training),
   * `bf16 weights`, `nf4`, `int8` (frozen weights), or several of them.
   */
  readonly precision?: string;
  /** The named data set that is scored by this metric. Absent if there is none. */
  readonly task?: string;
  /** The class that the cell's attack leads to. */
  readonly target?: AttackTarget;
  readonly evidence: Judgement;
  /** What the number was compared with; absent if nothing was asked for, or nothing found. */
  readonly against?: RowComparison;
}

export interface RowComparison {
  /** The number, at the same seed, of what the cell is compared with. */
  readonly value: number;
  /** The row's number − `value`; null if the pair is not evidence. */
  readonly difference: number | null;
  /** Why the pair is not evidence; null if it is. */
  readonly excluded: string | null;
  /** How many pairs of the cell are evidence. */
  readonly pairs: number;
  /**
   * The p-value of no difference over these pairs, without and with Holm's correction; null where
   * `differenceP` gives none.
   */
  readonly p: number | null;
  readonly p_holm: number | null;
}

export interface CellMetrics {
  readonly cell: JsonObject;
  readonly also?: readonly JsonObject[] | undefined;
  readonly seed: number;
  /** Stage kind → metric → value, as in each stage's metrics.json. */
  readonly metrics: { readonly [stage: string]: { readonly [metric: string]: number } };
  /** The scorers of a completion task with a trigger, that of `evaluate.scorer` first. */
  readonly scorers?: readonly JsonObject[];
  /** Stage kind → what its numbers depend on that is not in float32. Default: nothing. */
  readonly precision?: { readonly [stage: string]: string };
  /** The named data sets of the rows, with the metrics by which each is scored. */
  readonly tasks?: readonly TaskFacts[] | undefined;
  readonly target?: AttackTarget;
  /** Stage kind → the warnings of the stages behind its numbers. Default: none. */
  readonly warnings?: { readonly [stage: string]: readonly string[] };
}

/** Matches `asr_clean` and, if the scorer NAME is not the first, `asr_clean.NAME`. */
const SCORED = /^(?:test_)?(?:asr|trigger_rate|false_trigger_rate)\w*(?:\.(?<name>.+))?$/;

/**
 * Returns the scorer that a metric counts by: the one that it names or else the first; undefined if
 * it counts by none, or if that scorer is not among `scorers`.
 */
function scorerOf(metric: string, scorers: readonly JsonObject[]): JsonObject | undefined {
  const scored = SCORED.exec(metric);
  if (scored === null) return undefined;
  // A trigger that no training shows is named behind the scorer: `asr.refusal.trigger.end`.
  const name = scored.groups?.['name']?.replace(/(?:^|\.)trigger\..*$/, '') || undefined;
  return name === undefined
    ? scorers[0]
    : scorers.find(({ scorer, name: own = scorer }) => own === name);
}

/**
 * Returns a function that counts the seeds of a cell: those with a finite number, and the others.
 */
function countSeeds(cells: readonly CellMetrics[]) {
  const groups = groupBy(cells, ({ cell }) => contentKey(cell));
  const seedsOf = new Map(
    [...groups.values()].flatMap((seeds) => seeds.map((one) => [one, seeds] as const)),
  );
  return (one: CellMetrics, { stage, metric }: Metric): Pick<Judgement, 'n' | 'missing'> => {
    const seeds = seedsOf.get(one) ?? [];
    const n = seeds.filter(({ metrics }) => Number.isFinite(metrics[stage]?.[metric])).length;
    return { n, missing: seeds.length - n };
  };
}

/**
 * Returns a row for each metric of each cell; values that are not finite are left out.
 * @param cells all planned cells; those without a number are counted as missing it
 */
export function collectResults(cells: readonly CellMetrics[]): ResultRow[] {
  const seedCounts = countSeeds(cells),
    fewerRows = compareRowCounts(cells, ({ cell }) => cell);
  return cells.flatMap((one) => {
    const { cell, also = [], seed, scorers = [], tasks, target, precision, warnings } = one;
    return Object.entries(one.metrics).flatMap(([stage, values]) =>
      Object.entries(values)
        .filter(([, value]) => Number.isFinite(value))
        .map(([name, value]): ResultRow => {
          const metric = { stage, metric: name },
            isEvaluated = stage === ACCURACY.stage;
          const reason = isEvaluated ? voidReason(one, metric) : null;
          return defined({
            cell,
            also: also.length === 0 ? undefined : also,
            seed,
            ...metric,
            value,
            scorer: isEvaluated ? scorerOf(name, scorers) : undefined,
            ...taskField(tasks, metric),
            target,
            precision: precision?.[stage],
            evidence: defined({
              counts: reason === null,
              reasons: reason === null ? [] : [reason],
              ...seedCounts(one, metric),
              warnings: warnings?.[stage] ?? [],
              fewer_rows: fewerRows(one, metric) ?? undefined,
            }),
          });
        }),
    );
  });
}

/** Returns the scorers that count the successes in these rows. */
export const scorersOfRows = (rows: readonly ResultRow[]): readonly ScorerUse[] =>
  rows.flatMap(({ cell, metric, scorer }) =>
    scorer === undefined
      ? []
      : {
          scorer: scorerWords(scorer),
          attack: studiedAttack(cell),
          suffix: scorerSuffix(metric),
        },
  );

/** A cell with what was measured of it at every seed. */
export interface ResultCell extends Pick<ResultRow, 'cell' | 'also'> {
  /** What was measured at each seed that has any number. */
  readonly seeds: ReadonlyMap<number, Pick<CellMetrics, 'metrics'>>;
  /** How many seeds the spec asks for. */
  readonly planned: number;
  /** By metric (`metricName`): one reason for each seed whose number is not evidence. */
  readonly reasons: ReadonlyMap<string, readonly string[]>;
  /** By metric: on how many rows it was measured, if other cells have it on more. */
  readonly fewerRows: ReadonlyMap<string, RowCount>;
}

/** Returns the axis values of a cell, under each of its names. */
export const axesByName = ({
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
      const known = reasons.get(metricName(row)) ?? [];
      if (!evidence.counts) reasons.set(metricName(row), [...known, ...evidence.reasons]);
    }
    const [{ cell, also, evidence }] = own;
    const planned = evidence.n + evidence.missing;
    return { cell, ...defined({ also }), seeds, planned, reasons, fewerRows };
  });
}

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
