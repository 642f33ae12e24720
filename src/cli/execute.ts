/** Runs what a prepared plan lacks, tells of it, and says where the report is. */
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { Outcome, RunEvent } from '../execute/types.ts';
import type { PluginKind } from '../registry/types.ts';
import { stageLabels } from '../plan/label.ts';
import type { PlannedStage, StageId } from '../plan/types.ts';
import { reportFile, runsDir } from './options.ts';
import type { SpecOptions } from './options.ts';
import type { Prepared } from './prepare.ts';
import { count, duration, json, out, paintErr, say, SpecFault } from './terminal.ts';

export interface ExecuteOptions extends Pick<SpecOptions, 'jobs' | 'json'> {
  readonly failFast?: boolean;
  /** Left out: every stage. */
  readonly mayRun?: (stage: PlannedStage) => boolean;
}

export const DONE = 0, FAILED = 1, INTERRUPTED = 130;

export async function execute(prepared: Prepared, options: ExecuteOptions): Promise<number> {
  const { plan, statuses, experiment, store } = prepared;
  const mayRun = options.mayRun ?? (() => true);
  const lacking = statuses.filter(({ stage, state }) => state !== 'cached' && mayRun(stage));
  const cached = statuses.filter(({ state }) => state === 'cached').length;
  if (lacking.length === 0) {
    const report = publishReport(experiment.name, statuses.map(({ stage, entry }) => ({ stage, dir: entry?.dir ?? null })));
    if (options.json) json({ run: null, ran: 0, cached, failed: 0, blocked: 0, abandoned: 0, report });
    else say(`nothing to do: ${count(cached, 'stage')} cached`);
    if (report !== null && !options.json) out(report);
    return DONE;
  }

  const { preflight } = await import('../execute/preflight.ts');
  const faults = await preflight(plan, lacking, prepared.assets, prepared.registry);
  if (faults.length > 0) throw new SpecFault(faults);

  const { run, outcomes, interrupted, seconds } = await carryOut(prepared, lacking.map(({ stage }) => stage), cached, options);
  const report = publishReport(experiment.name, plan.stages.map((stage) => {
    const outcome = outcomes.get(stage.id);
    return { stage, dir: outcome?.state === 'ran' || outcome?.state === 'cached' ? outcome.dir : null };
  }));
  const tally = { ran: 0, cached: 0, failed: 0, blocked: 0, abandoned: 0 };
  for (const stage of plan.stages) tally[outcomes.get(stage.id)!.state]++;
  if (options.json) json({ run, ...tally, report });
  else summarise(prepared, outcomes, tally, seconds, interrupted);
  store.close();
  if (report !== null && !options.json) out(report);
  if (interrupted) return INTERRUPTED;
  return tally.failed > 0 ? FAILED : DONE;
}

async function carryOut(prepared: Prepared, toRun: readonly PlannedStage[], cached: number, options: ExecuteOptions): Promise<{ run: string; outcomes: ReadonlyMap<StageId, Outcome>; interrupted: boolean; seconds: number }> {
  const { plan, statuses, experiment, store, registry, assets, backend } = prepared;
  const [{ executePlan }, { createPool }, { openDurations }, { environment }, { createRunFolder }, { openRunLog }, { createProgress }, { journalEntry, logLine }, { workerModule }, { rememberCode }, { saveRoot }, { ifDiskAllows, onDisk }] = await Promise.all([
    import('../execute/run.ts'), import('../execute/pool.ts'), import('../log/durations.ts'), import('../execute/environment.ts'), import('../log/run-folder.ts'),
    import('../log/run-log.ts'), import('../log/progress.ts'), import('../log/journal.ts'), import('../registry/registry.ts'),
    import('../store/code.ts'), import('../store/roots.ts'), import('../store/faults.ts'),
  ]);
  const facts = await environment(experiment.file, backend, options.jobs);
  // Before anything runs: can the store be written?
  rmSync(store.scratch('probe'), { recursive: true });
  const folder = await onDisk(runsDir(), () => createRunFolder(runsDir(), { specFile: experiment.file, specText: experiment.text, resolved: experiment.resolved, environment: facts, argv: process.argv.slice(2) }));
  const log = openRunLog(folder.dir);
  const pool = createPool({ module: workerModule(), limit: options.jobs });
  const durations = openDurations(store.root);
  const started = performance.now();

  const live = process.stderr.isTTY === true && !options.json ? (await import('log-update')).createLogUpdate(process.stderr) : null;
  const tones = { plain: (text: string) => text, good: (text: string) => text, bad: paintErr.red, note: paintErr.yellow };
  const progress = createProgress({
    stages: toRun, label: stageLabels(plan), durations, jobs: options.jobs, duration,
    print: (line, tone) => { live?.clear(); say(tones[tone](line)); },
    draw: live && ((lines) => live(lines.join('\n'))),
  });
  const onEvent = (event: RunEvent): void => {
    const entry = journalEntry(event), line = logLine(event);
    if (entry) folder.record(entry);
    if (line !== null) log.line(line);
    progress.onEvent(event);
  };
  const timer = live ? setInterval(() => progress.tick(), 500) : null;

  const stop = new AbortController();
  const interrupt = (): void => {
    if (stop.signal.aborted) { void pool.close().finally(() => process.exit(INTERRUPTED)); return; }
    say(paintErr.yellow('stopping: what is finished is kept (once more to stop at once)'));
    stop.abort();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, interrupt);
  try {
    if (!options.json) say(`${count(toRun.length, 'stage')} to run, ${cached} cached, on ${backend}, ${count(options.jobs, 'core')}; log: ${path.relative('', path.join(folder.dir, 'run.log'))}`);
    onEvent({ type: 'run-started', run: folder.id, stages: toRun.length, cached });
    const outcomes = await executePlan(plan, statuses, {
      store, registry, assets, pool, log, jobs: options.jobs, failFast: options.failFast === true, signal: stop.signal, runId: folder.id, environment: facts,
      facts: { environment: facts }, onEvent, ...(options.mayRun ? { mayRun: options.mayRun } : {}),
    });
    await store.flush();
    const loaded = new Set(plan.stages.flatMap((stage) => [registry.get('stage', stage.kind), ...stage.uses.map(({ kind, name }) => registry.get(kind as PluginKind, name))]));
    const keys = [...outcomes.values()].flatMap((outcome) => (outcome.state === 'ran' || outcome.state === 'cached' ? [outcome.key] : []));
    ifDiskAllows(store.root, () => {
      durations.save();
      for (const plugin of loaded) if (plugin) rememberCode(store.root, plugin.code, plugin.closure);
      saveRoot(store.root, path.resolve(experiment.file), keys);
    }, (message) => onEvent({ type: 'note', message }));
    const seconds = (performance.now() - started) / 1000;
    onEvent({ type: 'run-ended', run: folder.id, interrupted: stop.signal.aborted, seconds });
    return { run: folder.id, outcomes, interrupted: stop.signal.aborted, seconds };
  } finally {
    if (timer) clearInterval(timer);
    live?.clear();
    live?.done();
    await pool.close();
    await log.close();
    folder.close();
    for (const signal of signals) process.off(signal, interrupt);
  }
}

function summarise({ plan }: Prepared, outcomes: ReadonlyMap<StageId, Outcome>, tally: { readonly [state: string]: number }, seconds: number, interrupted: boolean): void {
  const parts = Object.entries(tally).filter(([, n]) => n > 0).map(([state, n]) => `${n} ${state === 'abandoned' ? 'not run' : state}`);
  say(`${interrupted ? 'interrupted: ' : ''}${parts.join(', ')} in ${duration(seconds)}`);
  const label = stageLabels(plan);
  const byId = new Map(plan.stages.map((stage) => [stage.id, stage]));
  // Outcomes stand in the order in which they came.
  const failures = [...outcomes].flatMap(([id, outcome]) => (outcome.state === 'failed' ? [{ stage: byId.get(id)!, outcome }] : []));
  const first = failures[0];
  if (!first) return;
  const { stage, outcome } = first;
  say(paintErr.red(`${failures.length > 1 ? 'first failure' : 'failed'}: ${label(stage)}: ${outcome.error}`));
  if (outcome.hint !== undefined) say(`  ${outcome.hint}`);
  if (outcome.log !== null) say(`  log: ${path.relative('', outcome.log)}`);
}

/** A store path is no place to bookmark: the newest report of an experiment lies at `.dosimeter/reports/NAME.html`. */
function publishReport(name: string, stages: readonly { readonly stage: PlannedStage; readonly dir: string | null }[]): string | null {
  for (const { stage, dir } of stages) {
    if (stage.descriptor.scope !== 'experiment' || dir === null) continue;
    const from = path.join(dir, 'report.html');
    if (!existsSync(from)) continue;
    const to = reportFile(name), draft = `${to}.${process.pid}`;
    try {
      mkdirSync(path.dirname(to), { recursive: true });
      copyFileSync(from, draft);
      renameSync(draft, to);
      return to;
    } catch (error) {
      // It is in the store all the same.
      say(paintErr.yellow(`the report could not be copied to ${to} (${String((error as NodeJS.ErrnoException).code)})`));
      return from;
    }
  }
  return null;
}
