/** `dosimeter run`, `report` and `figures`: a run in a terminal, with progress and a summary. */
import path from 'node:path';
import { LEAVE, UserFault } from '../api.ts';
import { defined } from '../base/defined.ts';
import { replaceFile } from '../base/replace-file.ts';
import { stageLabels } from '../plan/label.ts';
import { list } from '../report/format.ts';
import { groupBy } from '../report/groups.ts';
import type { EntryContents } from '../report/types.ts';
import type { AttemptLimits } from '../run/execute/attempt-limits.ts';
import { prepare, type Prepared } from '../run/prepare.ts';
import { chosenRemote } from '../run/remote.ts';
import {
  type FiguresAsked,
  ownEntries,
  writeFigures,
  type WrittenFigures,
} from '../run/reports.ts';
import { runPrepared } from '../run/run.ts';
import type { RunPreparedOptions, RunStart, RunSummary, Watcher } from '../run/types.ts';
import { commandOf, runCommandOf, type SpecOptions } from './options.ts';
import {
  count,
  DONE,
  duration,
  FAILED,
  INTERRUPTED,
  json,
  onInterrupt,
  out,
  paintErr,
  say,
  STOPPED,
  warn,
  warnLines,
  warnProse,
  wrapLines,
} from './terminal.ts';

export type RunCommandOptions = SpecOptions &
  Omit<RunInTerminalOptions, 'mayRun' | 'finish' | 'printsReport'> & {
    readonly detach?: boolean;
    readonly coordinator?: 'process' | 'job';
  };

export async function runCommand(spec: string, options: RunCommandOptions): Promise<number> {
  const prepared = await prepare(spec, options, { fetch: true, note: say });
  if (options.detach === true || options.coordinator !== undefined) {
    prepared.store.close();
    const { detachedRun } = await import('./detached.ts');
    return detachedRun(prepared, options);
  }
  return runInTerminal(prepared, options);
}

interface RunInTerminalOptions
  extends
    Pick<SpecOptions, 'jobs' | 'json'>,
    AttemptLimits,
    Pick<
      RunPreparedOptions,
      'failFast' | 'stopWhen' | 'compile' | 'pack' | 'executor' | 'notes' | 'mayRun'
    > {
  readonly remote?: string;
  readonly push?: boolean;
  /** Called after the run, before its report's path is printed. Returns fields for `--json`. */
  readonly finish?: (summary: RunSummary) => Promise<Readonly<Record<string, unknown>>>;
  /** Whether the report's path is printed. Default: true. */
  readonly printsReport?: false;
}

/** Runs a prepared spec with its progress in the terminal. Returns the exit code. */
export async function runInTerminal(
  prepared: Prepared,
  options: RunInTerminalOptions,
): Promise<number> {
  const { jobs, failFast, stopWhen, compile, executor, notes, pack, mayRun } = options;
  const stop = new AbortController();
  const summary = await runPrepared(prepared, {
    jobs,
    failFast: failFast === true,
    compile: compile !== false,
    signal: stop.signal,
    argv: process.argv.slice(2),
    note: warnLines,
    watch: (start) => watch(prepared, start, stop, options),
    attemptLimits: options,
    ...defined({ stopWhen, executor, notes, pack, mayRun }),
    remote: chosenRemote(options),
  });
  const { run, tally, report, interrupted, stopped } = summary;
  if (run === null && notes !== undefined)
    warn('--notes are kept with a run, and there was nothing to run');
  if (!options.json) {
    if (run === null) say(`nothing to do: ${count(tally.cached, 'stage')} cached`);
    else {
      printSummary(prepared, summary);
      await tellCaveats(prepared);
    }
  }
  const entries = ownEntries(prepared, summary);
  if (!options.json && options.printsReport !== false) tellLacks(entries);
  const more = (await options.finish?.(summary)) ?? {};
  if (options.json) json({ run, ...tally, stopped, report, entries, ...more });
  if (report !== null && !options.json && options.printsReport !== false) out(report);
  if (stopped !== null) return STOPPED;
  if (interrupted) return INTERRUPTED;
  return tally.failed > 0 ? FAILED : DONE;
}

/** The environment variable with the path of the file that a detached run writes its id to. */
export const STARTED = 'DOSIMETER_STARTED';
/** Tells the run's id to the command that started this process in the background. */
function announceStart(run: string): void {
  const file = process.env[STARTED];
  if (file === undefined) return;
  delete process.env['DOSIMETER_STARTED']; // it is not for the workers
  try {
    replaceFile(file, run);
  } catch {
    // The command that waits for the file has ended.
  }
}

/** Shows a run's progress. Ctrl-C stops the run, and a second one ends it at once. */
async function watch(
  { plan, backend }: Prepared,
  { run, dir, toRun, cached, durations, places, outlives, kill }: RunStart,
  stop: AbortController,
  options: RunInTerminalOptions,
): Promise<Watcher> {
  const { createProgress } = await import('../run/log/progress.ts');
  const live =
    process.stderr.isTTY && !options.json
      ? (await import('log-update')).createLogUpdate(process.stderr)
      : null;
  const plain = (text: string): string => text,
    note = (text: string): string => paintErr.yellow(wrapLines(text));
  const tones = { plain, good: plain, bad: paintErr.red, note };
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
    // Leaves one line for the cursor, and one for the line above the block.
    room: () => ({
      lines: (process.stderr.rows || 24) - 2,
      columns: (process.stderr.columns || 80) - 1,
    }),
  });
  const timer = live ? setInterval(() => progress.tick(), 500) : null;
  announceStart(run);
  const release = onInterrupt((signal) => {
    if (outlives && signal !== 'SIGINT' && !stop.signal.aborted) {
      // A log-out or the end of the coordinator's time.
      warn(`leaving the jobs in flight; dosimeter attach ${run} goes on`);
      stop.abort(LEAVE);
      return;
    }
    if (stop.signal.aborted) {
      void kill().finally(() => process.exit(INTERRUPTED));
      return;
    }
    warn('stopping: finished stages are kept (interrupt once more to stop at once)');
    stop.abort();
  });
  if (!options.json) {
    const cores = count(options.jobs, 'core');
    say(`${count(toRun.length, 'stage')} to run, ${cached} cached, on ${backend}, ${cores}`);
    say(`  log: ${path.relative('', path.join(dir, 'run.log'))}`);
  }
  return {
    onEvent: progress.onEvent,
    close() {
      if (timer) clearInterval(timer);
      live?.clear();
      live?.done();
      release();
    },
  };
}

/** Names the spec's own figures and tables that could not be drawn, and says why. */
function tellLacks(entries: readonly EntryContents[]): void {
  const lacks = entries.flatMap(({ name, files, lacks: own }) =>
    own.map((lack) => ({
      name,
      lack,
      what: files.length === 0 ? 'leaves out' : 'lacks a part of',
    })),
  );
  for (const group of groupBy(lacks, ({ what, lack }) => `${what} ${lack}`).values()) {
    const [{ what, lack }] = group;
    warnLines(`the report ${what} ${list(group.map(({ name }) => `"${name}"`))}: ${lack}`);
  }
}

async function tellCaveats(prepared: Prepared): Promise<void> {
  const { plan, assets, store } = prepared;
  if (!plan.stages.some(({ kind }) => kind === 'evaluate')) return;
  const [{ survey }, { resultsOf }, { caveatLines }] = await Promise.all([
    import('../run/execute/survey.ts'),
    import('../run/facts.ts'),
    import('./result-tables.ts'),
  ]);
  const { rows } = resultsOf({ ...prepared, statuses: survey(plan, assets, store) });
  for (const sentence of caveatLines(rows)) warnProse(sentence);
}

function printSummary(
  { plan }: Prepared,
  { outcomes, tally, seconds, interrupted, stopped }: RunSummary,
): void {
  const parts = Object.entries(tally)
    .filter(([, n]) => n > 0)
    .map(([state, n]) => `${n} ${state === 'abandoned' ? 'not run' : state}`);
  const how = stopped !== null ? 'stopped: ' : interrupted ? 'interrupted: ' : '';
  say(`${how}${parts.join(', ')} in ${duration(seconds)}`);
  if (stopped !== null) warn(`--stop-when collapsed: ${stopped}`);
  if (tally.failed === 0) return;
  // In the plan's order: unlike the order in time, it names the same failure first at a rerun.
  const failures = plan.stages.flatMap((stage) => {
    const outcome = outcomes.get(stage.id);
    return outcome?.state === 'failed' ? [{ stage, outcome }] : [];
  });
  const [first] = failures;
  if (!first) return;
  const { stage, outcome } = first;
  const which = failures.length > 1 ? 'first failure' : 'failed';
  say(paintErr.red(`${which}: ${stageLabels(plan)(stage)}: ${outcome.error}`));
  if (outcome.hint !== undefined) say(`  ${outcome.hint}`);
  if (outcome.log !== null) say(`  log: ${path.relative('', outcome.log)}`);
}

/**
 * Makes the report from what is in the store, and counts what is missing. Runs nothing else.
 * @param pdf the folder that the figures are also written to as PDF; true for the default folder
 */
export async function reportCommand(
  spec: string,
  { pdf, ...options }: SpecOptions & { readonly pdf?: string | true },
): Promise<number> {
  const prepared = await prepareReport(spec, options);
  return runInTerminal(prepared, {
    ...options,
    mayRun,
    finish: async (summary) => {
      if (pdf === undefined) return {};
      const asked = { dir: pdf, formats: ['svg', 'csv', 'pdf'], only: null } as const;
      const written = await writeAsked(prepared, summary, asked);
      if (written === null) return { figures: null };
      const folder = path.relative('', written.dir) || '.';
      say(`${count(written.drawn, 'figure')} as PDF, SVG and CSV: ${folder}`);
      return { figures: written.dir };
    },
  });
}

type FiguresOptions = SpecOptions & {
  readonly out: string;
  readonly format: FiguresAsked['formats'];
};

/**
 * Writes figures and tables from what is in the store. `--only NAME`, a filter without a value,
 * restricts them to the named ones; returns FAILED if one of these has nothing to show.
 */
export async function figuresCommand(
  spec: string,
  { out: dir, format: formats, ...options }: FiguresOptions,
): Promise<number> {
  const named = options.only.filter((filter) => !filter.includes('=')),
    only = options.only.filter((filter) => filter.includes('='));
  const prepared = await prepareReport(spec, { ...options, only });
  let isLacking = named.length > 0;
  const code = await runInTerminal(prepared, {
    ...options,
    mayRun,
    printsReport: false,
    finish: async (summary) => {
      const asked = { dir, formats, only: named.length === 0 ? null : named };
      const written = await writeAsked(prepared, summary, asked);
      if (written === null) return { figures: null };
      isLacking &&= written.entries.some((entry) => entry.files.length === 0);
      const files = written.files.map((file) => path.relative('', path.join(written.dir, file)));
      for (const { name, lacks } of written.entries)
        for (const lack of lacks) warnLines(`${name}: ${lack}`);
      if (options.json !== true) files.forEach((file) => out(file));
      return { figures: written.dir, files, entries: written.entries };
    },
  });
  return code === DONE && isLacking ? FAILED : code;
}

/**
 * Whether a stage may run when a report is made: only stages over the whole grid may, as the report
 * is one.
 */
const mayRun: NonNullable<RunPreparedOptions['mayRun']> = ({ descriptor }) =>
  descriptor.scope === 'experiment';

/**
 * Prepares a spec. If none of its goals is over the whole grid, adds the goal `report`.
 * @throws UserFault if no goal of the spec is in the store
 */
async function prepareReport(spec: string, options: SpecOptions): Promise<Prepared> {
  const prepared = await prepare(spec, options, {
    fetch: false,
    note: say,
    goals: (goals, registry) =>
      goals.some((kind) => registry.get('stage', kind)?.descriptor.scope === 'experiment')
        ? goals
        : [...goals, 'report'],
  });
  if (!prepared.statuses.some(({ stage, state }) => stage.goal && state === 'cached'))
    throw new UserFault(
      `the store has no results of "${prepared.experiment.name}" as it is now`,
      `run it first: ${runCommandOf(spec, options)}; ` +
        `if it has run before, \`${commandOf('explain', spec, options)}\` says what has changed since`,
    );
  return prepared;
}

/** Writes figures, and says what is missing in them. Returns null if there are none. */
async function writeAsked(
  prepared: Prepared,
  summary: RunSummary,
  asked: FiguresAsked,
): Promise<WrittenFigures | null> {
  const written = await writeFigures(prepared, summary, asked);
  if (written === null) warn('there are no figures: no stage of this spec has made a report');
  for (const file of written?.damaged ?? [])
    say(paintErr.red(`${file} is not what was stored; left out (dosimeter verify)`));
  for (const { figure, characters } of written?.lacking ?? [])
    warn(
      `${figure}: the PDF's font (Inter) has no ${characters.slice(0, 10).join(' ')}: ` +
        'they are drawn as boxes; the SVG has them',
    );
  return written;
}
