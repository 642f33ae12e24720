/** Runs what a prepared plan lacks. Who looks on (a terminal, a caller) is told by events; nothing here prints or ends the process. */
import path from 'node:path';
import { checkPatience } from '../execute/patience.ts';
import { ifDiskAllows } from '../store/faults.ts';
import { fileFault } from '../store/files.ts';
import { saveRoot } from '../store/roots.ts';
import { checkStages } from './check.ts';
import { COMMAND } from './commands.ts';
import { checkExecutor, defaultExecutor } from './executor.ts';
import type { Note, Prepared } from './prepare.ts';
import { publishReport, REPORT } from './reports.ts';
import type { RunPreparedOptions, RunSummary } from './types.ts';

/** @throws SpecFault where a stage's preflight finds the input wrong, before anything runs; UserFault where the disk won't have it, or `patience` makes no sense */
export async function runPrepared(
  prepared: Prepared,
  options: RunPreparedOptions,
): Promise<RunSummary> {
  const { plan, experiment, store } = prepared;
  checkPatience(
    options.patience ?? {},
    prepared.registry.names('stage').filter((kind) => kind !== COMMAND),
  );
  const executor = options.executor ?? defaultExecutor;
  await checkExecutor(prepared.registry, executor);
  const mayRun = options.mayRun ?? (() => true);
  const statuses = await withSoundReport(prepared, options.note);
  const lacking = statuses.filter(({ stage, state }) => state !== 'cached' && mayRun(stage));
  const cached = statuses.filter(({ state }) => state === 'cached').length;
  const tally = { ran: 0, cached: 0, failed: 0, blocked: 0, abandoned: 0 };
  if (lacking.length === 0) {
    const report = publishReport(
      prepared,
      statuses.map(({ stage, entry }) => ({ stage, dir: entry?.dir ?? null })),
      options.note,
    );
    // Used now, if the store may be written to.
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
    return {
      run: null,
      tally: { ...tally, cached },
      outcomes: new Map(),
      interrupted: false,
      seconds: 0,
      report,
    };
  }

  // Git is asked meanwhile.
  const facts = import('../execute/environment.ts').then(({ environment }) =>
    environment(experiment.file, prepared.backend, options.jobs),
  );
  facts.catch(() => undefined); // told where it is waited for
  const [{ carryOut }] = await Promise.all([
    import('./carry-out.ts'),
    checkStages({ ...prepared, statuses }, lacking, options.note),
  ]);

  try {
    const { run, outcomes, interrupted, seconds } = await carryOut(
      { ...prepared, statuses },
      lacking.map(({ stage }) => stage),
      cached,
      facts,
      { ...options, executor },
    );
    const report = publishReport(
      prepared,
      plan.stages.map((stage) => {
        const outcome = outcomes.get(stage.id);
        return {
          stage,
          dir: outcome?.state === 'ran' || outcome?.state === 'cached' ? outcome.dir : null,
        };
      }),
      options.note,
    );
    for (const stage of plan.stages) tally[outcomes.get(stage.id)!.state]++;
    return { run, tally, outcomes, interrupted, seconds, report };
  } finally {
    store.close(); // when no worker writes to its scratch any more
  }
}

/** No stage reads the report, so no one else would see that its bytes are not what was stored. */
async function withSoundReport(
  { statuses, store }: Prepared,
  note: Note,
): Promise<Prepared['statuses']> {
  const sound = [...statuses];
  for (const [i, { stage, key, entry }] of statuses.entries()) {
    if (stage.descriptor.scope !== 'experiment' || !entry) continue;
    const file = entry.manifest.files.find(({ path: name }) => name === REPORT),
      fault = file ? await fileFault(entry.dir, file) : null;
    if (fault === null) continue;
    note(
      `the entry of ${stage.id} was damaged (${fault}); moved to ${store.moveAside(entry.key)}, it is made again`,
    );
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
