/** Describes a prepared plan in the shapes that `plan --json` and `results --json` print. */
import path from 'node:path';
import type { JsonObject } from '../api.ts';
import type { PackLimits } from '../execute/packer.ts';
import { foreseePacks } from '../execute/packer.ts';
import { type Metrics, readMetrics } from '../execute/results.ts';
import type { StageStatus } from '../execute/survey.ts';
import type { PlannedStage } from '../plan/types.ts';
import type { ComparedCell } from '../report/diff.ts';
import type { ResultRow } from '../report/results.ts';
import { collectResults } from '../report/results.ts';
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
  const scorers = scorersOf(plan);
  return {
    rows: collectResults(
      cells.map((cell, i) => {
        const own = scorers[i] ?? [];
        return own.length === 0 ? cell : { ...cell, scorers: own };
      }),
    ),
    ...rest,
  };
}

/** Returns the scorers of each cell's evaluate stage, `evaluate.scorer` first. */
function scorersOf(plan: Prepared['plan']): readonly (readonly JsonObject[])[] {
  const byId = new Map(plan.stages.map((stage) => [stage.id, stage]));
  return plan.cellStages.map(({ stages: { evaluate } }) => {
    const completion =
      evaluate === undefined ? undefined : byId.get(evaluate)?.params['completion'];
    if (!isRecord(completion)) return [];
    const { scorer, scorers = [] } = completion;
    const further: readonly unknown[] = Array.isArray(scorers) ? scorers : [];
    return [scorer, ...further].filter((one): one is JsonObject => isRecord(one));
  });
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
