/**
 * Describes a prepared plan in the shapes that `plan --json` and `results --json` print, and the
 * measurements along each training (`train.evaluate_every`), which `results --steps` prints.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { AttackTarget, Json, JsonObject } from '../api.ts';
import { canonical } from '../base/canonical.ts';
import { defined } from '../base/defined.ts';
import { mapValues } from '../base/record.ts';
import { isRecord } from '../base/untrusted/json.ts';
import type { PlannedStage, StageId } from '../plan/types.ts';
import { repeatedTrainings } from '../report/defences.ts';
import type { ComparedCell } from '../report/diff.ts';
import { groupBy } from '../report/groups.ts';
import { type CellMetrics, collectResults, type ResultRow } from '../report/results.ts';
import type { TaskFacts } from '../report/types.ts';
import type { Diagnostic } from '../spec/types.ts';
import { fileFault } from '../store/files.ts';
import { readRoots } from '../store/roots.ts';
import { type Metrics, readMetrics } from './execute/metrics.ts';
import { precisionOf, type StageStatus } from './execute/survey.ts';
import { storedWarnings } from './execute/warnings.ts';
import type { Prepared } from './prepare.ts';

export interface StageInPlan {
  readonly id: string;
  readonly kind: string;
  readonly cell: JsonObject;
  /** Whether the stage belongs to these cells; false for one that they only need (a clean twin). */
  readonly own: boolean;
  readonly seed: number | null;
  /** Null while the content of an input or a source is unknown. */
  readonly key: string | null;
  readonly state: StageStatus['state'];
  readonly reason: string;
  /** The absolute path of the folder of the stage's entry; null if the stage has none. */
  readonly outputs: string | null;
  /** The ids of the stages that this one reads, by input name. */
  readonly inputs: { readonly [name: string]: string };
}

export const plannedStages = ({ statuses }: Prepared): StageInPlan[] =>
  statuses.map(({ stage, state, key, reason, entry }) => ({
    id: stage.id,
    kind: stage.kind,
    cell: stage.cell,
    own: stage.ownLabel !== null,
    seed: stage.seed,
    key,
    state,
    reason,
    outputs: entry ? path.resolve(entry.dir) : null,
    inputs: stage.inputs,
  }));

/** What `results` prints. */
export interface Results extends Omit<Metrics, 'cells'> {
  readonly rows: readonly ResultRow[];
  /** The warnings of finished stages; several may differ in their numbers alone. */
  readonly warnings: readonly Diagnostic[];
}

/** Returns the attack's target for each stage that poisons rows, if the stage knows it already. */
export async function targetsOf(
  prepared: Prepared,
): Promise<ReadonlyMap<PlannedStage, AttackTarget>> {
  const isAsked = ({ descriptor }: PlannedStage): boolean => descriptor.target !== undefined;
  if (!prepared.plan.stages.some(isAsked)) return new Map();
  const { attackTargets } = await import('./execute/preflight.ts');
  return attackTargets(prepared);
}

/**
 * Returns the results of the finished cells.
 * @param targets what `targetsOf` returns; by default, no row names its target
 * @param repeats what `repeatsIn` returns; by default, nothing is said of repeated cells
 */
export function resultsOf(
  { plan, statuses, store }: Prepared,
  targets: ReadonlyMap<PlannedStage, AttackTarget> = new Map(),
  repeats: ReadonlyMap<StageId, Diagnostic> = new Map(),
): Results {
  const { cells, ...rest } = readMetrics(plan, statuses, store);
  const evaluated = evaluateParams(plan),
    precision = precisionByKind(plan),
    stored = new Map(statuses.map((one) => [one.stage.id, storedWarnings(plan, [one])])),
    warned = warningsByKind(plan, (id) => [
      ...(stored.get(id) ?? []),
      ...[repeats.get(id) ?? []].flat(),
    ]),
    attacked = targetsByCell(plan, targets);
  return {
    warnings: [...[...stored.values()].flat(), ...repeats.values()],
    rows: collectResults(
      cells.map((cell, i) => ({
        ...cell,
        ...scorerFacts(evaluated[i]),
        ...taskFacts(evaluated[i]),
        precision: precision[i] ?? {},
        ...defined({ target: attacked.get(i) }),
        warnings: warned[i] ?? {},
      })),
    ),
    ...rest,
  };
}

/**
 * Returns, by a cell's index, the target of the cell's own attack or, if it has none, of its last
 * base that has one.
 */
function targetsByCell(
  { cellStages }: Prepared['plan'],
  targets: ReadonlyMap<PlannedStage, AttackTarget>,
): ReadonlyMap<number, AttackTarget> {
  const found = new Map<number, AttackTarget>();
  // First the targets of the sections `base.0`, `base.1`, …, then the cell's own: the last one set
  // stays.
  const inOrder = [...targets].sort(([a], [b]) =>
    (a.section ?? '').localeCompare(b.section ?? '', 'en', { numeric: true }),
  );
  for (const isOwn of [false, true])
    for (const [stage, target] of inOrder)
      for (const i of stage.cells) {
        const own = Object.values(cellStages[i]?.stages ?? {}).includes(stage.id);
        if (isOwn ? own : !own && stage.section !== null) found.set(i, target);
      }
  return found;
}

/** Returns the parameters of each cell's `evaluate`; undefined for a cell without it. */
function evaluateParams(plan: Prepared['plan']): readonly (JsonObject | undefined)[] {
  const byId = new Map(plan.stages.map((stage) => [stage.id, stage]));
  return plan.cellStages.map(({ stages: { evaluate } }) =>
    evaluate === undefined ? undefined : byId.get(evaluate)?.params,
  );
}

/** Returns the scorers of `evaluate`; {} if it reads no completions. */
function scorerFacts(params: JsonObject = {}): Pick<CellMetrics, 'scorers'> {
  const completion = params['completion'];
  if (!isRecord(completion)) return {};
  const { scorer, scorers = [] } = completion;
  const further: readonly unknown[] = Array.isArray(scorers) ? scorers : [];
  return { scorers: [scorer, ...further].filter((one): one is JsonObject => isRecord(one)) };
}

/** Returns the tasks of `evaluate`; {} if the spec has no `data.tasks`. */
function taskFacts(params: JsonObject = {}): Pick<CellMetrics, 'tasks'> {
  const tasks = params['tasks'];
  return Array.isArray(tasks) ? { tasks: tasks.flatMap(taskIn) } : {};
}

/** Returns a task's data set and metrics; [] for a malformed task. */
function taskIn(task: Json): readonly TaskFacts[] {
  const { dataset, metrics } = isRecord(task) ? task : {};
  return typeof dataset === 'string' && Array.isArray(metrics)
    ? [{ dataset, metrics: metrics.map(String) }]
    : [];
}

/**
 * Returns, by cell and stage kind, the precisions besides float32 of the stage and all upstream.
 * Stages without any are left out.
 */
function precisionByKind(plan: Prepared['plan']): readonly { readonly [kind: string]: string }[] {
  const precisionUpstream = gatherUpstream(plan, precisionOf);
  return plan.cellStages.map(({ stages }) =>
    Object.fromEntries(
      Object.entries(stages).flatMap(([kind, id]) => {
        const found = [...precisionUpstream(id)];
        return found.length === 0 ? [] : [[kind, found.sort().join(', ')]];
      }),
    ),
  );
}

/** Returns, by cell and stage kind, the warnings of the stage and all upstream. */
function warningsByKind(
  plan: Prepared['plan'],
  warningsOf: (id: StageId) => readonly Diagnostic[],
): readonly { readonly [kind: string]: readonly string[] }[] {
  const warnedUpstream = gatherUpstream(plan, ({ id }) =>
    warningsOf(id).map(({ message }) => message),
  );
  return plan.cellStages.map(({ stages }) => mapValues(stages, (id) => [...warnedUpstream(id)]));
}

/** Returns a function that gives the union of `valuesOf` over a stage and all upstream. */
function gatherUpstream(
  plan: Prepared['plan'],
  valuesOf: (stage: PlannedStage) => readonly string[],
): (id: StageId) => ReadonlySet<string> {
  const byId = new Map(plan.stages.map((stage) => [stage.id, stage]));
  const known = new Map<StageId, ReadonlySet<string>>();
  /** Returns the values of a stage and all upstream; none if the plan has no such stage. */
  const gather = (id: StageId): ReadonlySet<string> => {
    const found = known.get(id),
      stage = byId.get(id);
    if (found !== undefined || stage === undefined) return found ?? new Set();
    const all = new Set(valuesOf(stage));
    for (const input of Object.values(stage.inputs)) for (const one of gather(input)) all.add(one);
    known.set(id, all);
    return all;
  };
  return gather;
}

export interface ComparedResults extends Omit<Results, 'rows'> {
  readonly cells: readonly ComparedCell[];
}

/**
 * Returns results for a comparison with those of another spec. Each cell has all its names, since
 * the other spec may use any of them.
 * @param repeats what `repeatsIn` returns
 */
export function comparedResults(
  { plan, statuses, store }: Prepared,
  repeats: ReadonlyMap<StageId, Diagnostic>,
): ComparedResults {
  const { cells, ...rest } = readMetrics(plan, statuses, store);
  const evaluated = evaluateParams(plan);
  return {
    ...rest,
    warnings: [...storedWarnings(plan, statuses), ...repeats.values()],
    cells: plan.cellStages.map(({ cell }, i) => {
      const found = cells[i];
      if (!found) throw new Error(`no results of cell ${i}`);
      const { seed, metrics } = found;
      return { seed, metrics, ...taskFacts(evaluated[i]), names: [cell, ...cell.also] };
    }),
  };
}

const CURVES = 'curves.jsonl';

interface StepRow {
  readonly cell: JsonObject;
  readonly seed: number;
  /** The training step after which the value was measured; 0 is before the first step. */
  readonly step: number;
  readonly metric: string;
  readonly value: number;
}

/**
 * Reads the measurements along each stored training, in the order of cells, seeds and steps. Leaves
 * out a cell that repeats the training of a cell without a defence (`repeatedTrainings`), and files
 * that differ from what was stored, whose paths are returned as `damaged`.
 */
export async function readSteps({
  plan,
  statuses,
  store,
}: Pick<Prepared, 'plan' | 'statuses' | 'store'>) {
  const byId = new Map(statuses.map((status) => [status.stage.id, status]));
  const rows: StepRow[] = [];
  const damaged: string[] = [];
  const isRepeated = repeatedTrainings(
    plan.cellStages.map(({ cell, stages }) => ({ axes: cell.axes, stages })),
  );
  for (const { cell, stages } of plan.cellStages) {
    if (isRepeated({ axes: cell.axes, stages })) continue;
    const entry = stages['train'] === undefined ? null : byId.get(stages['train'])?.entry;
    const stored = entry
      ? store.manifest(entry.key)?.files.find(({ path: name }) => name === CURVES)
      : undefined;
    if (!entry || !stored) continue;
    const file = path.join(entry.dir, CURVES);
    if ((await fileFault(entry.dir, stored)) !== null) {
      damaged.push(file);
      continue;
    }
    for (const line of readFileSync(file, 'utf8').split('\n')) {
      if (line.trim() === '') continue;
      const { step, ...values } = JSON.parse(line) as { readonly [name: string]: unknown };
      for (const [metric, value] of Object.entries(values))
        if (typeof value === 'number' && Number.isFinite(value))
          rows.push({
            cell: cell.axes,
            seed: cell.config.seed,
            step: Number(step),
            metric,
            value,
          });
    }
  }
  return { rows, damaged };
}

/**
 * Returns results of the stage `train`, with the step as one more axis. Seeds of a cell that have
 * no number at a step, as after early stopping, are counted as missing it.
 */
export function asResults(
  rows: readonly StepRow[],
  { cellStages }: Pick<Prepared['plan'], 'cellStages'>,
): readonly ResultRow[] {
  const planned = groupBy(cellStages, ({ cell }) => canonical(cell.axes));
  return collectResults(
    [...groupBy(rows, ({ cell, step }) => canonical([cell, step])).values()].flatMap((own) => {
      const [{ cell, step }] = own;
      const bySeed = groupBy(own, ({ seed }) => String(seed));
      return (planned.get(canonical(cell)) ?? []).map(({ cell: { config } }) => {
        const found = bySeed.get(String(config.seed)) ?? [],
          values = Object.fromEntries(found.map(({ metric, value }) => [metric, value]));
        return { cell: { ...cell, step }, seed: config.seed, metrics: { train: values } };
      });
    }),
  );
}

/**
 * Returns a sentence for each other backend with stored results of the plan's goals. Only the
 * entries of this spec's runs are searched: to look up the stages' keys under other backends,
 * PyTorch's release would have to be asked for, which takes a second.
 */
export function otherBackends({ statuses, store, experiment, backend }: Prepared): string[] {
  const goals = new Set(
    statuses
      .filter(({ stage }) => stage.goal && stage.descriptor.compute)
      .map(({ stage: { kind, params, cell, seed } }) => canonical([kind, params, cell, seed])),
  );
  const shown = new Set(statuses.map(({ key }) => key)),
    others = new Map<string, Set<string>>();
  const keys = readRoots(store.root)
    .filter(({ spec }) => spec === path.resolve(experiment.file))
    .flatMap((root) => root.keys);
  for (const key of new Set(keys)) {
    const manifest = shown.has(key) ? null : store.manifest(key);
    if (manifest === null || manifest.backend === null || manifest.backend === backend) continue;
    const { kind, components, facts } = manifest;
    const { params } = components;
    const identity = canonical([kind, params, facts['cell'] ?? null, facts['seed'] ?? null]);
    if (!goals.has(identity)) continue;
    const own = others.get(manifest.backend) ?? new Set();
    others.set(manifest.backend, own.add(identity));
  }
  return [...others].map(
    ([other, { size }]) =>
      `results of ${size} ${size === 1 ? 'stage' : 'stages'} on the backend ${other} exist as ` +
      `well: --backend ${other}`,
  );
}
