/**
 * Runs the stages that a prepared plan lacks. Callers watch through events; nothing here prints or
 * ends the process.
 */
import path from 'node:path';
import { at } from '../base/lookup.ts';
import { OUTPUTS } from '../report/outputs.ts';
import { ifDiskAllows } from '../store/faults.ts';
import { fileFault } from '../store/files.ts';
import { saveRoot } from '../store/roots.ts';
import { checkAttemptLimits } from './execute/attempt-limits.ts';
import { cachedOutcome, isFinished } from './execute/execution.ts';
import { createLettingGo } from './execute/keep.ts';
import type { StageStatus } from './execute/survey.ts';
import { checkExecutor, defaultExecutor } from './executor.ts';
import { checkStages, COMMAND, type Note, type Prepared, runsHere } from './prepare.ts';
import { openObjects } from './remote.ts';
import { publishReport, REPORT } from './reports.ts';
import type { RunPreparedOptions, RunSummary } from './types.ts';

const NOTHING_RAN = { ran: 0, cached: 0, failed: 0, blocked: 0, abandoned: 0 };

/**
 * Runs the stages that are not cached and may run.
 * @throws SpecFault if a stage's preflight finds a fault; nothing has run then
 * @throws UserFault if the disk can't be written to, the remote can't be used, or `attemptLimits`
 *   or `executor` is wrong
 */
export async function runPrepared(
  prepared: Prepared,
  options: RunPreparedOptions,
): Promise<RunSummary> {
  const { plan, experiment, store } = prepared;
  checkAttemptLimits(
    options.attemptLimits ?? {},
    prepared.registry.names('stage').filter((kind) => kind !== COMMAND),
  );
  const executor = options.executor ?? defaultExecutor;
  await checkExecutor(prepared.registry, executor);
  const objects = options.remote === undefined ? null : await openObjects(options.remote);
  const mayRun = options.mayRun ?? (() => true);
  const statuses = await withSoundReport(prepared, options.note);
  const lacking = statuses.filter(({ stage, state }) => state !== 'cached' && mayRun(stage));
  const cached = statuses.filter(({ state }) => state === 'cached').length;
  if (lacking.length === 0) {
    await checkStages({ ...prepared, statuses }, [], undefined, options.note);
    return summaryWithoutRun(prepared, statuses, cached, options.note);
  }

  // Git runs while the stages are checked.
  const facts = import('./execute/environment.ts').then(({ describeEnvironment }) =>
    describeEnvironment(experiment.file, prepared.backend, options.jobs),
  );
  facts.catch(() => undefined); // reported where it is awaited
  const told: string[] = [];
  const tell: Note = (message) => {
    told.push(message);
    options.note(message);
  };
  if (options.stopWhen === 'collapsed') {
    const why = (await import('./early-results.ts')).whyNoneCanCollapse(plan);
    if (why !== null) tell(`--stop-when collapsed can never stop this run: ${why}`);
  }
  const [{ runRecorded }, warnings] = await Promise.all([
    import('./recorded-run.ts'),
    checkStages({ ...prepared, statuses }, lacking, runsHere(executor), tell),
  ]);

  try {
    const { outcomes, ...recorded } = await runRecorded(
      { ...prepared, statuses },
      lacking.map(({ stage }) => stage),
      cached,
      facts,
      { ...options, executor, objects, warnings, told },
    );
    const tally = { ...NOTHING_RAN };
    const made = plan.stages.map((stage) => {
      const outcome = outcomes.get(stage.id);
      if (outcome) tally[outcome.state]++;
      const dir = isFinished(outcome) ? outcome.dir : null;
      return { stage, dir };
    });
    return {
      ...recorded,
      outcomes,
      tally,
      report: await publishReport(prepared, made, options.note),
    };
  } finally {
    store.close(); // only now: workers have stopped writing to its scratch folder
  }
}

/**
 * Returns the summary where no stage is to run. Before that, lets go of files as `keep` says,
 * publishes the report, records that the entries are used, and closes the store.
 */
async function summaryWithoutRun(
  prepared: Prepared,
  statuses: readonly StageStatus[],
  cached: number,
  note: Note,
): Promise<RunSummary> {
  const { experiment, store } = prepared;
  const cachedStages = new Map(
    statuses.flatMap(({ stage, entry }) => (entry ? [[stage.id, cachedOutcome(entry)]] : [])),
  );
  const gone = createLettingGo(prepared.plan, store, path.resolve(experiment.file))?.rest(
    cachedStages,
  );
  if (typeof gone === 'string') note(gone);
  const report = await publishReport(
    prepared,
    statuses.map(({ stage, entry }) => ({ stage, dir: entry?.dir ?? null })),
    note,
  );
  ifDiskAllows(
    store.root,
    () => {
      saveRoot(
        store.root,
        path.resolve(experiment.file),
        statuses.flatMap(({ entry }) => (entry ? [entry.key] : [])),
      );
      store.saveIndex();
      store.tidy();
    },
    () => undefined,
  );
  store.close();
  return {
    run: null,
    tally: { ...NOTHING_RAN, cached },
    outcomes: new Map(),
    interrupted: false,
    stopped: null,
    seconds: 0,
    report,
  };
}

/**
 * Returns the statuses of all stages, after damaged reports were moved aside, to be made again.
 * Other entries are checked by the stages that read them, but no stage reads a report.
 */
async function withSoundReport(
  { statuses, store }: Prepared,
  note: Note,
): Promise<readonly StageStatus[]> {
  const sound = [...statuses];
  for (let i = 0; i < statuses.length; i++) {
    const { stage, key, entry } = at(statuses, i);
    if (stage.descriptor.scope !== 'experiment' || !entry) continue;
    let fault: string | null = null;
    for (const file of entry.manifest.files)
      if (file.path === REPORT || file.path === OUTPUTS) fault ??= await fileFault(entry.dir, file);
    if (fault === null) continue;
    const moved = store.moveAside(entry.key);
    note(`the entry of ${stage.id} was damaged (${fault}); moved to ${moved}, it is made again`);
    sound[i] = {
      stage,
      key,
      state: 'ready',
      reason: 'its entry in the store was damaged',
      entry: null,
    };
  }
  return sound;
}
