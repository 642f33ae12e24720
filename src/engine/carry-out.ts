/** A run that has something to do: its folder, log and journal, its executor, and what the store remembers of it. */
import path from 'node:path';
import type { JsonObject } from '../api.ts';
import { locator } from '../execute/assets.ts';
import { placesOn } from '../execute/resources.ts';
import { executePlan } from '../execute/execute-plan.ts';
import type { Outcome, RunEvent } from '../execute/types.ts';
import { openDurations } from '../log/durations.ts';
import { journalEntry, logLine } from '../log/journal.ts';
import { redactor } from '../log/redact.ts';
import { createRunFolder } from '../log/run-folder.ts';
import { openRunLog } from '../log/run-log.ts';
import type { PlannedStage, StageId } from '../plan/types.ts';
import type { PluginKind } from '../registry/types.ts';
import { rememberCode } from '../store/code.ts';
import { rememberEnvironment } from '../store/environments.ts';
import { ifDiskAllows, onDisk } from '../store/faults.ts';
import { enterStore } from '../store/presence.ts';
import { saveRoot } from '../store/roots.ts';
import { openExecutor } from './executor.ts';
import { thisMachine } from './machine.ts';
import { defaultPacking } from './packing.ts';
import { runsDir } from './places.ts';
import type { Prepared } from './prepare.ts';
import { sourceContext } from './prepare.ts';
import { saveRunEntries } from './run-entries.ts';
import type { RunPreparedOptions } from './types.ts';

export interface CarriedOut {
  readonly run: string;
  readonly outcomes: ReadonlyMap<StageId, Outcome>;
  readonly interrupted: boolean;
  readonly seconds: number;
}

/** @param environment on what it runs; @throws UserFault where the disk won't have it */
export async function carryOut(
  prepared: Prepared,
  toRun: readonly PlannedStage[],
  cached: number,
  environment: Promise<JsonObject>,
  options: RunPreparedOptions & { readonly executor: string },
): Promise<CarriedOut> {
  const { plan, statuses, experiment, store, registry, assets } = prepared;
  const { signal } = options;
  const facts = await environment;
  const redact = redactor(experiment.secrets, process.env);
  await enterStore(store, options.note); // before anything runs: can the store be written?
  const environmentDigest = await onDisk(store.root, () => rememberEnvironment(store.root, facts));
  const folder = await onDisk(
    runsDir(),
    () =>
      createRunFolder(runsDir(), options.note, {
        specFile: experiment.file,
        specText: experiment.text,
        resolved: experiment.resolved,
        environment: facts,
        argv: options.argv.map(redact),
      }),
    'folder',
  );
  const log = await onDisk(folder.dir, () => openRunLog(folder.dir, redact), 'folder').catch(
    (error: unknown) => {
      folder.close();
      throw error;
    },
  );
  const executor = await openExecutor(registry, options.executor, {
    cores: options.jobs,
    dir: folder.dir,
    log: (message) => log.line(message),
  }).catch(async (error: unknown) => {
    await log.close();
    folder.close();
    throw error;
  });
  const jobs = executor.cores ?? options.jobs;
  const here = thisMachine(jobs, prepared.gpu);
  // Cores elsewhere: what else is there is the executor's to say.
  const machine =
    executor.cores === undefined
      ? { ...here, gpus: executor.gpus ?? here.gpus! }
      : {
          cores: jobs,
          gpus: executor.gpus ?? [],
          computesOnGpu: prepared.gpu && executor.gpus !== undefined,
        };
  const durations = openDurations(store.root, options.note);
  const started = performance.now();
  const watcher = await options.watch?.({
    run: folder.id,
    dir: folder.dir,
    toRun,
    cached,
    durations,
    places: placesOn(machine, plan.backend),
    kill: () => executor.close(),
  });
  const note = (message: string): void => onEvent({ type: 'note', message });
  const onEvent = (event: RunEvent): void => {
    const entry = journalEntry(event);
    if (entry) {
      folder.record(entry);
      log.line(logLine(entry));
    }
    if (event.type === 'stage-ended' && event.outcome.state === 'ran')
      durations.note(event.stage, event.outcome.seconds);
    watcher?.onEvent(event);
  };
  try {
    onEvent({ type: 'run-started', run: folder.id, stages: toRun.length, cached });
    const outcomes = await executePlan(plan, statuses, {
      store,
      registry,
      assets,
      locate: locator(registry, await sourceContext(options.note)),
      executor,
      log,
      jobs,
      machine,
      failFast: options.failFast === true,
      signal,
      runId: folder.id,
      redact,
      environment: facts,
      facts: { environment: environmentDigest, executor: options.executor },
      packing: options.packing ?? defaultPacking(jobs),
      onEvent,
      ...(options.mayRun ? { mayRun: options.mayRun } : {}),
      ...(options.patience ? { patience: options.patience } : {}),
    });
    const durable = store.flush();
    durable.catch(() => undefined); // told below
    const loaded = new Set(
      plan.stages.flatMap((stage) => [
        registry.get('stage', stage.kind),
        ...stage.uses.map(({ kind, name }) => registry.get(kind as PluginKind, name)),
      ]),
    );
    const keys = plan.stages.flatMap(({ id }) => {
      const outcome = outcomes.get(id);
      return outcome?.state === 'ran' || outcome?.state === 'cached' ? [outcome.key] : [];
    });
    ifDiskAllows(
      store.root,
      () => {
        durations.save();
        for (const plugin of loaded)
          if (plugin) rememberCode(store.root, plugin.code, plugin.closure);
        saveRoot(store.root, path.resolve(experiment.file), keys);
        store.saveIndex();
      },
      note,
    );
    // The runs may lie on another disk than the store.
    ifDiskAllows(folder.dir, () => saveRunEntries(folder.dir, keys), note);
    await durable;
    const seconds = (performance.now() - started) / 1000;
    onEvent({ type: 'run-ended', run: folder.id, interrupted: signal.aborted, seconds });
    return { run: folder.id, outcomes, interrupted: signal.aborted, seconds };
  } finally {
    watcher?.close();
    await executor.close();
    await log.close();
    folder.close();
  }
}
