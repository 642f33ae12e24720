/** Runs the lacking stages of a plan, with a folder, a log, a journal and an executor. */
import { rmSync } from 'node:fs';
import path from 'node:path';
import type { Executor, JsonObject } from '../api.ts';
import { at, named } from '../base/lookup.ts';
import { type Redact, redactor } from '../base/secret.ts';
import { stageLabels } from '../plan/label.ts';
import type { ActionKey, PlannedStage, StageId } from '../plan/types.ts';
import { ifDiskAllows, onDisk } from '../store/faults.ts';
import { enterStore } from '../store/gc.ts';
import { rememberCode, rememberEnvironment } from '../store/provenance.ts';
import type { Objects } from '../store/remote/objects.ts';
import type { Remote } from '../store/remote/remote.ts';
import { saveRoot } from '../store/roots.ts';
import type { Store } from '../store/store.ts';
import { createEarlyResults } from './early-results.ts';
import { locator } from './execute/assets.ts';
import { DEFAULT_PACK } from './execute/attempt-limits.ts';
import { executePlan } from './execute/execute-plan.ts';
import { cachedOutcome, isFinished } from './execute/execution.ts';
import { createLettingGo } from './execute/keep.ts';
import type { Checked } from './execute/preflight.ts';
import { isScheduled, type Machine, placesOn, thisMachine } from './execute/resources.ts';
import { openExecutor } from './executor.ts';
import { type Durations, openDurations } from './log/durations.ts';
import { journalEntry, logLine, type Outcome, type RunEvent } from './log/events.ts';
import { createRunFolder, type RunFolder } from './log/run-folder.ts';
import { openRunLog, type RunLog } from './log/run-log.ts';
import { openRunProgress, type RecordedStage, writeRunPlan } from './log/run-plan.ts';
import { type Note, type Prepared, sourceContext } from './prepare.ts';
import { usedPlugins } from './reasons.ts';
import { describeTransfers } from './remote.ts';
import { openCoordinator } from './run-status.ts';
import { runsDir } from './state-folder.ts';
import type { RunPreparedOptions, RunStart, RunSummary } from './types.ts';

type Options = RunPreparedOptions & {
  readonly executor: string;
  /** The objects of the run's remote; null without a remote. */
  readonly objects: Objects | null;
  /** The warnings of the stages' preflights. */
  readonly warnings: Checked['warnings'];
  /** What the user was told before the run, for its journal. */
  readonly told: readonly string[];
};

/**
 * Executes the plan, records what happens, and remembers in the store what later runs need.
 * @param toRun the stages that are to run, for the display
 * @param cached how many stages are cached, for the display
 * @param environment recorded with the run
 * @throws UserFault if the disk refuses to be written to
 */
export async function runRecorded(
  prepared: Prepared,
  toRun: readonly PlannedStage[],
  cached: number,
  environment: Promise<JsonObject>,
  options: Options,
): Promise<Pick<RunSummary, 'run' | 'outcomes' | 'interrupted' | 'stopped' | 'seconds'>> {
  const { plan, statuses, experiment, store, registry, assets } = prepared;
  // Made before `environment` is awaited, since that waits for Git.
  const labels = plan.stages.map(stageLabels(plan));
  const facts = await environment;
  const redact = redactor(experiment.secrets, process.env);
  // Before anything runs, so that a store that can't be written to ends the run here.
  await enterStore(store, options.note);
  const environmentDigest = await onDisk(store.root, () => rememberEnvironment(store.root, facts));
  const listener: { note: Note } = { note: options.note }; // replaced below, to send events
  const { folder, log, executor, close } = await openRecords(prepared, facts, redact, {
    ...options,
    note: (message) => listener.note(message),
  });
  const coordinator = openCoordinator(folder.dir);
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, coordinator.signal, stop.signal]);
  const jobs = executor.queues?.jobs ?? executor.cores ?? options.jobs;
  const machine = chooseMachine(executor, jobs, prepared.gpu);
  const durations = openDurations(store.root, plan.backend, options.note);
  const places = placesOn(machine, plan.backend);
  const shared = { dir: folder.dir, durations, places };
  const recordProgress = recordView(prepared, options, shared, labels, redact);
  const started = performance.now();
  const watcher = await options.watch?.({
    ...shared,
    run: folder.id,
    toRun,
    cached,
    outlives: executor.queues !== undefined,
    kill: () => executor.close(),
  });
  const watchEarly = createEarlyResults(plan, (line) => onEvent({ type: 'note', message: line }));
  let stopped: string | null = null;
  const onEvent = (event: RunEvent): void => {
    recordEvent(event, folder, log);
    if (event.type === 'stage-progress')
      durations.progress(event.stage, event.done, event.total, performance.now() / 1000);
    if (event.type === 'stage-ended' && event.outcome.state === 'ran') {
      durations.note(event.stage, event.outcome.seconds, event.outcome.bytes);
      if (options.remote?.push === true) remote?.sendSoon(event.outcome.key);
    }
    recordProgress(event);
    watcher?.onEvent(event);
    stopIf(watchEarly(event));
  };
  const stopIf = (fault: string | null): void => {
    if (fault === null || options.stopWhen !== 'collapsed' || stop.signal.aborted) return;
    stopped = fault;
    onEvent({ type: 'note', message: `stopping, as --stop-when collapsed asks: ${fault}` });
    stop.abort();
  };
  const note: Note = (message) => onEvent({ type: 'note', message });
  listener.note = note;
  const remote = await openRemote(store, log, note, options);
  try {
    onEvent({ type: 'run-started', stages: toRun.length, cached });
    for (const message of options.told) recordEvent({ type: 'note', message }, folder, log);
    for (const { stage, entry } of statuses)
      if (entry && stage.kind === 'evaluate')
        stopIf(watchEarly({ type: 'stage-ended', stage, outcome: cachedOutcome(entry) }));
    const lettingGo = createLettingGo(plan, store, path.resolve(experiment.file));
    const outcomes = await executePlan(plan, statuses, {
      store,
      registry,
      assets,
      locate: locator(registry, sourceContext(options.note)),
      executor,
      log,
      jobs,
      machine,
      signal,
      runId: folder.id,
      redact,
      environment: facts,
      facts: { environment: environmentDigest, executor: options.executor },
      onEvent,
      // With a push, files are let go only after the entries have been sent.
      onEnded: options.remote?.push === true ? undefined : lettingGo?.ended,
      warnings: options.warnings,
      expect: (stage) => durations.expect(stage),
      failFast: options.failFast ?? false,
      pack: options.pack ?? (isScheduled(machine) ? DEFAULT_PACK : 1),
      mayRun: options.mayRun,
      attemptLimits: options.attemptLimits,
      remote,
    });
    const transfers = remote && describeTransfers(await remote.settled(), remote.uri);
    if (transfers !== null) note(transfers);
    const letGoText = lettingGo?.rest(outcomes) ?? null;
    if (letGoText !== null) note(letGoText);
    await rememberRun(prepared, finishedKeys(plan.stages, outcomes), durations, note);
    const seconds = (performance.now() - started) / 1000;
    onEvent({ type: 'run-ended', interrupted: signal.aborted, seconds });
    return { run: folder.id, outcomes, interrupted: signal.aborted, stopped, seconds };
  } finally {
    watcher?.close();
    coordinator.close();
    await close();
  }
}

/** Writes an event to the journal and the log, if these keep it. */
function recordEvent(event: RunEvent, folder: RunFolder, log: RunLog): void {
  const entry = journalEntry(event);
  if (entry === null) return;
  folder.record(entry);
  log.line(logLine(entry));
}

/** Opens the run's remote; null if it has none. */
async function openRemote(
  store: Store,
  log: RunLog,
  tell: Note,
  { objects, signal }: Options,
): Promise<Remote | null> {
  if (objects === null) return null;
  const remotes = await import('../store/remote/remote.ts');
  return new remotes.Remote(objects, store, { tell, log: (message) => log.line(message), signal });
}

/** Opens the run's folder, log and executor: all of these or none. */
async function openRecords(
  { experiment, registry, store }: Prepared,
  environment: JsonObject,
  redact: Redact,
  { argv, notes = '', executor: name, jobs, note, compile = true }: Options,
) {
  const contents = {
    specFile: experiment.file,
    specText: experiment.text,
    resolved: experiment.resolved,
    environment,
    argv: argv.map(redact),
    notes: redact([notes.trim(), experiment.notes].filter((text) => text !== '').join('\n')),
  };
  const folder = await onDisk(
    runsDir(),
    () => createRunFolder(runsDir(), note, contents),
    'folder',
  );
  let log: RunLog | undefined;
  try {
    const opened = await onDisk(folder.dir, () => openRunLog(folder.dir, redact), 'folder');
    log = opened;
    const executor = await openExecutor(registry, name, {
      cores: jobs,
      dir: folder.dir,
      log: (message) => opened.line(message),
      note,
      spec: experiment.file,
      store: store.root,
      compile,
    });
    return {
      folder,
      log,
      executor,
      close: async (): Promise<void> => {
        await executor.close();
        await opened.close();
        folder.close();
      },
    };
  } catch (error) {
    await log?.close();
    folder.close();
    // `status` would show a run that never began as killed.
    rmSync(folder.dir, { recursive: true, force: true });
    throw error;
  }
}

/** Returns what stages share: the resources of a scheduler, of the executor or of this machine. */
function chooseMachine({ cores, gpus, queues }: Executor, jobs: number, gpu: boolean): Machine {
  if (queues) return { cores: jobs, computesOnGpu: gpu, gatherMs: queues.gatherMs };
  if (cores !== undefined)
    return { cores: jobs, gpus: gpus ?? [], computesOnGpu: gpu && gpus !== undefined };
  const here = thisMachine(jobs, gpu);
  return gpus === undefined ? here : { ...here, gpus };
}

const finishedKeys = (
  stages: readonly PlannedStage[],
  outcomes: ReadonlyMap<StageId, Outcome>,
): ActionKey[] =>
  stages.flatMap(({ id }) => {
    const outcome = outcomes.get(id);
    return isFinished(outcome) ? [outcome.key] : [];
  });

/**
 * Writes what later runs need, and makes the entries durable. If the disk refuses the writing,
 * gives a note.
 */
async function rememberRun(
  prepared: Prepared,
  keys: readonly ActionKey[],
  durations: Durations,
  note: Note,
): Promise<void> {
  const { store, experiment } = prepared;
  const durable = store.flush();
  durable.catch(() => undefined); // reported below, where it is awaited
  ifDiskAllows(
    store.root,
    () => {
      durations.save();
      for (const { code, closure } of usedPlugins(prepared))
        rememberCode(store.root, code, closure);
      saveRoot(store.root, path.resolve(experiment.file), keys);
      store.saveIndex();
    },
    note,
  );
  await durable;
}

/**
 * Writes what `dosimeter serve` shows: the plan at once, and progress by the returned function,
 * which gets the run's events.
 * @param labels the labels of the stages, in the plan's order
 */
function recordView(
  { plan, statuses, experiment, store }: Prepared,
  { executor, note }: Options,
  { dir, durations, places }: Pick<RunStart, 'dir' | 'durations' | 'places'>,
  labels: readonly string[],
  redact: Redact,
): (event: RunEvent) => void {
  const indexes = new Map<StageId, number>();
  const stages = statuses.map(({ stage, entry, state }, index): RecordedStage => {
    const { id, kind, section, goal } = stage;
    indexes.set(id, index);
    return {
      id,
      kind,
      section,
      label: redact(at(labels, index)),
      // Inputs come before the stages that read them.
      inputs: Object.values(stage.inputs).map((input) => named(indexes, input)),
      goal,
      places: places(stage),
      cached: state === 'cached' ? (entry?.key ?? null) : null,
      seconds: state === 'cached' ? null : durations.expect(stage),
    };
  });
  const { name } = experiment;
  const { backend } = plan;
  const recorded = { name, store: path.resolve(store.root), backend, executor, stages };
  ifDiskAllows(dir, () => writeRunPlan(dir, recorded), note);
  let refused = false;
  return openRunProgress(dir, (save) => {
    if (refused) return;
    ifDiskAllows(dir, save, () => {
      refused = true; // the journal's own note says that the disk is full
    });
  });
}
