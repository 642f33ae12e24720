/** The state of one execution of a plan: its options, and the outcomes of its settled stages. */
import type {
  AnyPlugin,
  Digest,
  Executor,
  ExperimentFacts,
  JsonObject,
  SourceFacts,
  StageFacts,
  StageInput,
  Warning,
} from '../../api.ts';
import { defined } from '../../base/defined.ts';
import { once } from '../../base/memoized.ts';
import { emptyRecord } from '../../base/record.ts';
import { nodeLabel, type PlanRegistry, type PluginKind } from '../../plan/graph.ts';
import { actionKey } from '../../plan/keys.ts';
import type { ActionKey, KeyComponents, Plan, PlannedStage, StageId } from '../../plan/types.ts';
import { isDiskFault } from '../../store/faults.ts';
import type { Entry } from '../../store/manifest.ts';
import type { Store } from '../../store/store.ts';
import type { Failed, Finished, OnEvent, Outcome } from '../log/events.ts';
import type { RunLog } from '../log/run-log.ts';
import type { AttemptLimits } from './attempt-limits.ts';
import { errorFailure, failure, mapToSources } from './failure.ts';
import { createGuard, type Guard, type Locate } from './guard.ts';
import { hasLetGo } from './keep.ts';
import type { Machine } from './resources.ts';
import { type Assets, keyComponents, missing } from './survey.ts';
import { readWarnings } from './warnings.ts';

/** A plan's registry, with the modules that workers import. */
export interface RuntimeRegistry extends PlanRegistry {
  get(
    kind: PluginKind,
    name: string,
  ):
    | {
        readonly descriptor: AnyPlugin;
        readonly code: Digest;
        readonly module: string;
        readonly file?: string;
      }
    | undefined;
}

export interface ExecuteOptions {
  readonly store: Store;
  readonly registry: RuntimeRegistry;
  /** The sources, by URI. A stage that reads a missing source (null) is abandoned. */
  readonly assets: Assets;
  /**
   * Looks a source up again, to see whether it changed while a stage read it. By default, only the
   * sizes and times of its files are compared.
   */
  readonly locate?: Locate | undefined;
  readonly executor: Executor;
  readonly log: RunLog;
  /** The cores that stages may take at once. */
  readonly jobs: number;
  /** What stages share besides cores. */
  readonly machine?: Omit<Machine, 'cores'>;
  readonly failFast: boolean;
  /** The most stages in a pack. By default, every stage runs alone. */
  readonly pack?: number;
  readonly attemptLimits?: AttemptLimits | undefined;
  /** Returns the seconds that a stage will take; null if unknown. Told to a scheduler. */
  readonly expect?: (stage: PlannedStage) => number | null;
  /**
   * Whether a stage may be attempted. A stage that may not is abandoned, unless it is cached. By
   * default, every stage may.
   */
  readonly mayRun?: ((stage: PlannedStage) => boolean) | undefined;
  /** Once aborted, nothing more starts, and running stages are asked to stop. */
  readonly signal: AbortSignal;
  readonly runId: string;
  /** What stages that join the grid, such as the report, are told of this machine. */
  readonly environment: JsonObject;
  /** What every manifest records of this run. */
  readonly facts: JsonObject;
  readonly onEvent: OnEvent;
  /** The warnings of each stage's preflight, to be stored with its entry. */
  readonly warnings?: ReadonlyMap<StageId, readonly Warning[]>;
  /** Where entries are fetched from that the store lacks; by default, or if null, from nowhere. */
  readonly remote?: RemoteEntries | null;
  /** Called once a stage's outcome is known. */
  readonly onEnded?: ((stage: PlannedStage, execution: Execution) => void) | undefined;
  /** Removes secrets from what a stage says about its failure. */
  readonly redact?: (text: string) => string;
}

export interface RemoteEntries {
  /** Returns null if the entry has to be made, or if another process has its lease. */
  fetch(key: ActionKey, volatile: readonly string[]): Promise<Entry | null>;
}

export interface Execution {
  readonly plan: Plan;
  readonly options: ExecuteOptions;
  readonly machine: Machine;
  readonly guard: Guard;
  /** Returns the plan's stages by id, in a map that the first call makes. */
  readonly stagesById: () => ReadonlyMap<StageId, PlannedStage>;
  /** The outcomes of settled stages. */
  readonly outcomes: Map<StageId, Outcome>;
  /** The stored entries of finished stages. */
  readonly entries: Map<ActionKey, Entry>;
  /**
   * The texts of warnings that the user was told. Their numbers, which differ between seeds, are
   * left out.
   */
  readonly told: Set<string>;
  /** Whether no more stages start: after a failure with `failFast`, or on a full disk. */
  stopped: boolean;
}

export function openExecution(plan: Plan, options: ExecuteOptions): Execution {
  return {
    plan,
    options,
    machine: { ...options.machine, cores: options.jobs },
    guard: createGuard(options.locate),
    stagesById: once(() => new Map(plan.stages.map((stage) => [stage.id, stage]))),
    outcomes: new Map(),
    entries: new Map(),
    told: new Set(),
    stopped: false,
  };
}

export function tellNote({ options }: Execution, message: string): void {
  options.onEvent({ type: 'note', message });
}

/**
 * Tells that an entry was damaged and is made again.
 * @param moved where the entry was moved; null if there was nothing to move
 */
export function tellDamage(
  execution: Execution,
  { id }: PlannedStage,
  why: string,
  moved: string | null,
): void {
  const where = moved === null ? '' : `; moved to ${moved}`;
  tellNote(execution, `the entry of ${id} was damaged (${why})${where}, it is made again`);
}

/** Whether a stage ran or was cached, so that it has an entry. False for undefined. */
export const isFinished = (outcome: Outcome | undefined): outcome is Finished =>
  outcome?.state === 'ran' || outcome?.state === 'cached';

/**
 * Returns the outcome of an input. Throws if it has none yet: stages wait for their inputs, so this
 * would be an error of this program.
 */
export function settledOutcome({ outcomes }: Pick<Execution, 'outcomes'>, id: StageId): Outcome {
  const outcome = outcomes.get(id);
  if (outcome === undefined) throw new Error(`${id} is read before it is settled`);
  return outcome;
}

/**
 * Returns the inputs of a stage that have finished. Leaves out other inputs, which only a tolerant
 * stage can have when it runs.
 */
export function finishedInputs(
  execution: Pick<Execution, 'outcomes'>,
  { inputs }: PlannedStage,
): readonly { readonly name: string; readonly id: StageId; readonly input: Finished }[] {
  const finished: { name: string; id: StageId; input: Finished }[] = [];
  for (const name of Object.keys(inputs)) {
    const id = inputs[name]!,
      input = settledOutcome(execution, id);
    if (isFinished(input)) finished.push({ name, id, input });
  }
  return finished;
}

export function cachedOutcome({ key, dir, manifest }: Entry): Finished {
  const { content, seconds, backend } = manifest;
  return { state: 'cached', key, dir, content, seconds, backend };
}

/** Keeps an entry that the execution did not make itself, and returns its outcome. */
export function useCached({ entries }: Execution, entry: Entry): Finished {
  entries.set(entry.key, entry);
  return cachedOutcome(entry);
}

/**
 * Lets no more stages start if this outcome is a failure and either `failFast` is set or nothing
 * more could succeed, as on a full disk.
 */
export function stopAfterFailure(execution: Execution, outcome: Outcome): void {
  if (outcome.state === 'failed' && (execution.options.failFast || isDiskFault(outcome)))
    execution.stopped = true;
}

/**
 * Fetches an entry from the remote. Returns null where `RemoteEntries.fetch` does, if there is no
 * remote, or once the run stops; a failure if fetching throws.
 */
export async function fetchOutcome(
  execution: Execution,
  { descriptor }: PlannedStage,
  key: ActionKey,
): Promise<Outcome | null> {
  const { remote, signal } = execution.options;
  if (!remote || execution.stopped || signal.aborted) return null;
  try {
    const entry = await remote.fetch(key, descriptor.volatile ?? []);
    return entry && useCached(execution, entry);
  } catch (error) {
    if (isDiskFault(error)) execution.stopped = true;
    return thrownOutcome(execution, error);
  }
}

/**
 * Returns the failure of a stage for which something outside its own process threw: a plugin's
 * estimate, the store or this program.
 */
export function thrownOutcome({ options: { log } }: Execution, thrown: unknown): Failed {
  const { name, message, stack, hint } = thrown as Error & { hint?: string };
  if (name === 'UserFault') return failure(message, null, defined({ hint }));
  const told = mapToSources(stack ?? message);
  log.line(told.stack);
  return errorFailure({ message, ...told }, log.file);
}

/** A stage whose inputs are settled, so that its key is known. */
export interface KeyedStage {
  readonly stage: PlannedStage;
  readonly key: ActionKey;
  readonly components: KeyComponents;
  readonly inputs: { readonly [name: string]: StageInput };
  /** Set if the entry must have all its files. */
  readonly whole?: true;
}

/** Whether an entry is enough: no file of it was let go, or it need not be whole. */
export const isSufficient = (entry: Entry, whole: boolean | undefined): boolean =>
  whole !== true || !hasLetGo(entry);

/** Computes a stage's key from its finished inputs; null if a source is missing here. */
export function keyedStage(execution: Execution, stage: PlannedStage): KeyedStage | null {
  const read = Object.entries(stage.inputs);
  const inputs = emptyRecord<StageInput>(read.length),
    contents = emptyRecord<Digest>(read.length),
    assets: { [name: string]: Digest } = {};
  for (const [name, uri] of Object.entries(stage.assets)) {
    const asset = execution.options.assets.get(uri);
    if (!asset) return null;
    assets[name] = asset.digest;
  }
  for (const [name, id] of read) {
    const input = settledOutcome(execution, id);
    if (isFinished(input)) {
      inputs[name] = { dir: input.dir, digest: input.content };
      contents[name] = input.content;
    } else contents[name] = missing; // only a tolerant stage gets here
  }
  const components = keyComponents(stage, execution.plan, contents, assets);
  return { stage, key: actionKey(components), components, inputs };
}

/**
 * Returns the section of the spec that a stage belongs to. Returns {} for a stage of no section,
 * and for one that is also a cell's own: several trainings of a cell may share the stage of their
 * rows.
 */
const sectionFacts = ({ ownLabel, section }: PlannedStage): Pick<StageFacts, 'section'> =>
  ownLabel !== null || section === null ? {} : { section };

/**
 * Returns what stages that join the grid are told of one stage.
 * @param describe returns `: ERROR` for a failed stage, else ''
 */
function stageFacts(
  stage: PlannedStage,
  outcome: Outcome,
  describe: (id: StageId) => string,
): StageFacts {
  const common = {
    id: stage.id,
    kind: stage.kind,
    ...sectionFacts(stage),
    cell: stage.cell,
    seed: stage.seed,
    inputs: Object.values(stage.inputs),
  };
  const unfinished = { ...common, key: '', dir: '', seconds: 0, backend: null };
  switch (outcome.state) {
    case 'ran':
    case 'cached': {
      const warnings = readWarnings(outcome.dir);
      return {
        ...common,
        ...(warnings.length === 0 ? {} : { warnings }),
        key: outcome.key,
        dir: outcome.dir,
        seconds: outcome.seconds,
        backend: outcome.backend,
        state: outcome.state,
      };
    }
    case 'failed':
      return { ...unfinished, state: 'failed', error: outcome.error };
    case 'blocked':
      return {
        ...unfinished,
        state: 'blocked',
        error: `needs ${outcome.by}, which failed${describe(outcome.by)}`,
      };
    case 'abandoned':
      return { ...unfinished, state: 'blocked', error: 'it has not run' };
  }
}

/**
 * Returns the sources that stages read, and what for. Leaves out those that are not on this
 * machine.
 */
function sourceFacts(stages: readonly PlannedStage[], assets: Assets): readonly SourceFacts[] {
  const found = new Map<string, { digest: Digest; reads: Map<string, SourceFacts['reads'][0]> }>();
  for (const stage of stages)
    for (const [name, uri] of Object.entries(stage.assets)) {
      const digest = assets.get(uri)?.digest;
      if (digest === undefined) continue;
      const read = { stage: nodeLabel(stage), ...sectionFacts(stage), name };
      const source = found.get(uri) ?? { digest, reads: new Map() };
      source.reads.set(JSON.stringify(read), read);
      found.set(uri, source);
    }
  return [...found].map(([uri, { digest, reads }]) => ({
    uri,
    digest,
    reads: [...reads.values()],
  }));
}

/**
 * Returns what a stage that joins the grid, such as the report, is told. Stages that join the grid
 * are left out, since they run at the same time and may settle before or after.
 */
export function experimentFacts(
  plan: Plan,
  outcomes: ReadonlyMap<StageId, Outcome>,
  { assets, environment }: Pick<ExecuteOptions, 'assets' | 'environment'>,
): ExperimentFacts {
  const { experiment } = plan;
  /** Returns `: ERROR` for a failed stage, else ''. */
  const describe = (id: StageId): string => {
    const outcome = outcomes.get(id);
    return outcome?.state === 'failed' ? `: ${outcome.error}` : '';
  };
  const settled = plan.stages.flatMap((stage) => {
    const outcome = stage.descriptor.scope === 'experiment' ? undefined : outcomes.get(stage.id);
    return outcome ? [{ stage, outcome }] : [];
  });
  const finished = settled.filter(({ outcome }) => isFinished(outcome));
  return {
    name: experiment.name,
    specFile: experiment.file,
    specText: experiment.text,
    cells: plan.cellStages.map(({ cell, stages }) => ({
      cell: cell.axes,
      ...(cell.also.length === 0 ? {} : { also: cell.also.map(({ axes }) => axes) }),
      seed: cell.config.seed,
      stages,
    })),
    stages: settled.map(({ stage, outcome }) => stageFacts(stage, outcome, describe)),
    sources: sourceFacts(
      finished.map(({ stage }) => stage),
      assets,
    ),
    environment,
  };
}
