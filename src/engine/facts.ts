/** Describes a prepared plan in the shapes that `plan --json` and `results --json` print. */
import path from 'node:path';
import type { Json, JsonObject } from '../api.ts';
import type { PackLimits } from '../execute/packer.ts';
import { foreseePacks } from '../execute/packer.ts';
import { type Metrics, readMetrics } from '../execute/results.ts';
import type { StageStatus } from '../execute/survey.ts';
import type { PlannedStage, StageId } from '../plan/types.ts';
import type { ComparedCell } from '../report/diff.ts';
import type { CellMetrics, ResultRow } from '../report/results.ts';
import { collectResults } from '../report/results.ts';
import type { TaskFacts } from '../report/types.ts';
import { isRecord } from '../untrusted/json.ts';
import { thisMachine } from './machine.ts';
import type { Prepared } from './prepare.ts';

export interface StageInPlan {
  readonly id: string;
  readonly kind: string;
  readonly cell: JsonObject;
  readonly seed: number | null;
  /** The action key; null while an input's content is unknown. */
  readonly key: string | null;
  readonly state: StageStatus['state'];
  readonly reason: string;
  /** The absolute path of the folder with the stage's files; null unless the stage is cached. */
  readonly outputs: string | null;
  /** The ids of the stages that this stage reads, by input name. */
  readonly inputs: { readonly [name: string]: string };
  /**
   * The number of the pack that the stage would run in if all that may share it were ready
   * together. Null if it is cached or runs alone.
   */
  readonly pack: number | null;
}

/** Returns the stages in the plan's order. */
export async function plannedStages(
  prepared: Prepared,
  jobs: number,
  packing: PackLimits,
): Promise<StageInPlan[]> {
  const packs = await packsOf(prepared, jobs, packing);
  const numbers = new Map(
    packs.flatMap((pack, number) => pack.map((stage) => [stage, number + 1] as const)),
  );
  return prepared.statuses.map((status) => plannedStage(status, numbers.get(status.stage) ?? null));
}

/** Returns the packs that the stages to run would form. */
export function packsOf(
  { plan, statuses, assets, gpu }: Prepared,
  jobs: number,
  packing: PackLimits,
): Promise<PlannedStage[][]> {
  return foreseePacks(
    statuses.filter(({ state }) => state !== 'cached').map(({ stage }) => stage),
    plan.backend,
    thisMachine(jobs, gpu),
    packing,
    assets,
  );
}

const plannedStage = (
  { stage, state, key, reason, entry }: StageStatus,
  pack: number | null,
): StageInPlan => ({
  id: stage.id,
  kind: stage.kind,
  cell: stage.cell,
  seed: stage.seed,
  key,
  state,
  reason,
  outputs: entry ? path.resolve(entry.dir) : null,
  inputs: stage.inputs,
  pack,
});

/** Every number of the finished cells. */
export interface Results extends Omit<Metrics, 'cells'> {
  readonly rows: readonly ResultRow[];
}

export function resultsOf({ plan, statuses, store }: Prepared): Results {
  const { cells, ...rest } = readMetrics(plan, statuses, store);
  const evaluated = evaluateParams(plan),
    bf16 = bf16Kinds(plan);
  return {
    rows: collectResults(
      cells.map((cell, i) => ({
        ...cell,
        ...scorerOf(evaluated[i]),
        ...tasksOf(evaluated[i]),
        bf16: bf16[i] ?? new Set(),
      })),
    ),
    ...rest,
  };
}

/** Returns the parameters of each cell's evaluate stage; undefined where there is none. */
function evaluateParams(plan: Prepared['plan']): readonly (JsonObject | undefined)[] {
  const byId = new Map(plan.stages.map((stage) => [stage.id, stage]));
  return plan.cellStages.map(({ stages: { evaluate } }) =>
    evaluate === undefined ? undefined : byId.get(evaluate)?.params,
  );
}

function scorerOf(params: JsonObject = {}): Pick<CellMetrics, 'scorer'> {
  const completion = params['completion'];
  const scorer = isRecord(completion) ? completion['scorer'] : undefined;
  return isRecord(scorer) ? { scorer } : {};
}

function tasksOf(params: JsonObject = {}): Pick<CellMetrics, 'tasks'> {
  const tasks = params['tasks'];
  return Array.isArray(tasks) ? { tasks: tasks.flatMap(taskIn) } : {};
}

function taskIn(task: Json): readonly TaskFacts[] {
  const { dataset, metrics } = isRecord(task) ? task : {};
  return typeof dataset === 'string' && Array.isArray(metrics)
    ? [{ dataset, metrics: metrics.map(String) }]
    : [];
}

/** Returns, for each cell, the stages that are, or read, a stage with products in bfloat16. */
function bf16Kinds(plan: Prepared['plan']): readonly ReadonlySet<string>[] {
  const byId = new Map(plan.stages.map((stage) => [stage.id, stage]));
  const known = new Map<string, boolean>();
  const depends = (id: StageId): boolean => {
    const found = known.get(id);
    if (found !== undefined) return found;
    const stage = byId.get(id);
    const own =
      stage !== undefined &&
      (stage.descriptor.precision?.(stage.params) === 'bf16' ||
        Object.values(stage.inputs).some(depends));
    known.set(id, own);
    return own;
  };
  return plan.cellStages.map(
    ({ stages }) =>
      new Set(Object.entries(stages).flatMap(([kind, id]) => (depends(id) ? [kind] : []))),
  );
}

export interface ComparedResults extends Omit<Results, 'rows'> {
  readonly cells: readonly ComparedCell[];
}

/**
 * Returns the results as one side of a comparison. Each cell has all its names, since the other
 * spec may use any of them.
 */
export function comparedResults({ plan, statuses, store }: Prepared): ComparedResults {
  const { cells, ...rest } = readMetrics(plan, statuses, store);
  return {
    ...rest,
    cells: plan.cellStages.map(({ cell }, i) => {
      const found = cells[i];
      if (!found) throw new Error(`no results of cell ${i}`);
      return { seed: found.seed, metrics: found.metrics, names: [cell, ...cell.also] };
    }),
  };
}
