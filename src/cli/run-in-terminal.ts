/** A run as a terminal shows it: progress, Ctrl-C, a summary, and the report's path last. */
import path from 'node:path';
import type { Prepared } from '../engine/prepare.ts';
import { runPrepared } from '../engine/run.ts';
import type { RunStart, RunSummary, Watcher } from '../engine/types.ts';
import type { PackLimits } from '../execute/packer.ts';
import type { PerKind } from '../execute/patience.ts';
import { stageLabels } from '../plan/label.ts';
import type { PlannedStage } from '../plan/types.ts';
import type { SpecOptions } from './options.ts';
import { count, duration, json, out, paintErr, say } from './terminal.ts';

export interface ExecuteOptions extends Pick<SpecOptions, 'jobs' | 'json'> {
  readonly failFast?: boolean;
  readonly packing?: PackLimits;
  readonly retries?: PerKind;
  readonly timeout?: PerKind;
  readonly executor?: string;
  /** Left out: every stage. */
  readonly mayRun?: (stage: PlannedStage) => boolean;
  /** Once all has ended, before the report's path is printed; returns what `--json` says more. */
  readonly finish?: (summary: RunSummary) => Promise<Readonly<Record<string, unknown>>>;
}

export const DONE = 0,
  FAILED = 1,
  INTERRUPTED = 130;

export async function execute(prepared: Prepared, options: ExecuteOptions): Promise<number> {
  const stop = new AbortController();
  const summary = await runPrepared(prepared, {
    jobs: options.jobs,
    failFast: options.failFast === true,
    signal: stop.signal,
    argv: process.argv.slice(2),
    note: (message) => say(paintErr.yellow(message)),
    watch: (start) => watch(prepared, start, stop, options),
    patience: {
      ...(options.retries === undefined ? {} : { retries: options.retries }),
      ...(options.timeout === undefined ? {} : { timeout: options.timeout }),
    },
    ...(options.executor === undefined ? {} : { executor: options.executor }),
    ...(options.packing ? { packing: options.packing } : {}),
    ...(options.mayRun ? { mayRun: options.mayRun } : {}),
  });
  const { run, tally, report, interrupted } = summary;
  if (!options.json) {
    if (run === null) say(`nothing to do: ${count(tally.cached, 'stage')} cached`);
    else summarise(prepared, summary);
  }
  const more = (await options.finish?.(summary)) ?? {};
  if (options.json) json({ run, ...tally, report, ...more });
  if (report !== null && !options.json) out(report);
  if (interrupted) return INTERRUPTED;
  return tally.failed > 0 ? FAILED : DONE;
}

async function watch(
  { plan, backend }: Prepared,
  { dir, toRun, cached, durations, places, kill }: RunStart,
  stop: AbortController,
  options: ExecuteOptions,
): Promise<Watcher> {
  const { createProgress } = await import('../log/progress.ts');
  const live =
    process.stderr.isTTY && !options.json
      ? (await import('log-update')).createLogUpdate(process.stderr)
      : null;
  const tones = {
    plain: (text: string) => text,
    good: (text: string) => text,
    bad: paintErr.red,
    note: paintErr.yellow,
  };
  const progress = createProgress({
    stages: toRun,
    label: stageLabels(plan),
    durations,
    places,
    duration,
    print: (line, tone) => {
      live?.clear();
      say(tones[tone](line));
    },
    draw: live && ((lines) => live(lines.join('\n'))),
    // The cursor's own line, and one of what was there before.
    room: () => ({
      lines: (process.stderr.rows || 24) - 2,
      columns: (process.stderr.columns || 80) - 1,
    }),
  });
  const timer = live ? setInterval(() => progress.tick(), 500) : null;
  const interrupt = (): void => {
    if (stop.signal.aborted) {
      void kill().finally(() => process.exit(INTERRUPTED));
      return;
    }
    say(paintErr.yellow('stopping: what is finished is kept (once more to stop at once)'));
    stop.abort();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, interrupt);
  if (!options.json)
    say(
      `${count(toRun.length, 'stage')} to run, ${cached} cached, on ${backend}, ${count(options.jobs, 'core')}\n  log: ${path.relative('', path.join(dir, 'run.log'))}`,
    );
  return {
    onEvent: progress.onEvent,
    close() {
      if (timer) clearInterval(timer);
      live?.clear();
      live?.done();
      for (const signal of signals) process.off(signal, interrupt);
    },
  };
}

function summarise(
  { plan }: Prepared,
  { outcomes, tally, seconds, interrupted }: RunSummary,
): void {
  const parts = Object.entries(tally)
    .filter(([, n]) => n > 0)
    .map(([state, n]) => `${n} ${state === 'abandoned' ? 'not run' : state}`);
  say(`${interrupted ? 'interrupted: ' : ''}${parts.join(', ')} in ${duration(seconds)}`);
  // In the plan's order: which of two failed first by the clock is chance, and a rerun should name the same.
  const failures = plan.stages.flatMap((stage) => {
    const outcome = outcomes.get(stage.id);
    return outcome?.state === 'failed' ? [{ stage, outcome }] : [];
  });
  const first = failures[0];
  if (!first) return;
  const { stage, outcome } = first;
  say(
    paintErr.red(
      `${failures.length > 1 ? 'first failure' : 'failed'}: ${stageLabels(plan)(stage)}: ${outcome.error}`,
    ),
  );
  if (outcome.hint !== undefined) say(`  ${outcome.hint}`);
  if (outcome.log !== null) say(`  log: ${path.relative('', outcome.log)}`);
}
