/** `dosimeter status`, `logs` and `serve`: show runs, reading only their folders. */
import path from 'node:path';
import { UserFault } from '../api.ts';
import { defined } from '../base/defined.ts';
import { listRuns, readJournal } from '../run/log/run-folder.ts';
import { type RunStatus, watchedStatuses } from '../run/run-status.ts';
import { runsDir } from '../run/state-folder.ts';
import { readRegular } from '../store/regular.ts';
import { readdirOr } from '../store/sweep.ts';
import {
  columns,
  count,
  duration,
  GAP,
  json,
  onInterrupt,
  out,
  paint,
  paintErr,
  remark,
  say,
  shortPath,
  table,
  warn,
  wrap,
} from './terminal.ts';

export interface Run {
  readonly id: string;
  readonly dir: string;
}

/**
 * Returns the run that is asked for.
 * @param id a run's id or its beginning; without it, the latest run is returned
 * @throws UserFault if there is no such run
 */
export function chooseRun(id?: string): Run {
  const runs = listRuns(runsDir());
  const [latest] = runs;
  // A second run within the same second has the first run's id with a number behind it, so a whole
  // id is looked for first.
  const run =
    id === undefined
      ? latest
      : (runs.find((one) => one.id === id) ?? runs.find((one) => one.id.startsWith(id)));
  if (!run)
    throw new UserFault(
      id === undefined
        ? `nothing has run here yet (${runsDir()})`
        : `no run "${id}" in ${runsDir()}`,
      latest ? `the latest is ${latest.id}` : 'dosimeter run <spec>',
    );
  return run;
}

/** The number of runs that are listed without `--all`. */
const LISTED = 10;

/** Prints the status of a run; without an id, a list of runs or, with `--json`, the latest one. */
export async function statusCommand(
  run: string | undefined,
  options: { readonly json?: boolean; readonly all?: boolean },
): Promise<number> {
  const onWatch = (): void => remark('watching heartbeats of other machines …');
  if (run !== undefined || (options.json === true && options.all !== true)) {
    for (const status of await watchedStatuses([chooseRun(run)], onWatch))
      if (options.json) json(status);
      else showRun(status);
    return 0;
  }
  const { id } = chooseRun();
  const runs = listRuns(runsDir());
  const listed = await watchedStatuses(options.all ? runs : runs.slice(0, LISTED), onWatch);
  if (options.json) json(listed);
  else {
    out(runTable(listed));
    warnOfDamage(listed);
    if (listed.length < runs.length)
      remark(`${runs.length - listed.length} earlier: --all lists every run`);
    remark('done: of the stages that were to run, without those cached before');
    remark(`dosimeter status ${id} says more about one`);
  }
  return 0;
}

/** Returns a table of the runs, newest first, each with the beginning of its notes below it. */
function runTable(runs: readonly RunStatus[]): string {
  /** Shortens `2026-01-31T12:00:00.000Z` to `01-31 12:00`; null becomes an empty text. */
  const time = (text: string | null): string =>
    text === null ? '' : text.slice(5, 16).replace('T', ' ');
  const rows = [
    ['run', 'state', 'began (UTC)', 'done', 'failed', 'blocked'],
    ...runs.map(({ run, state, started, stages }) => {
      const done = (stages['ran'] ?? 0) + (stages['cached'] ?? 0);
      return [
        run,
        state,
        time(started),
        `${done}/${stages['to run'] ?? '?'}`,
        String(stages['failed'] ?? 0),
        String(stages['blocked'] ?? 0),
      ];
    }),
  ];
  const [head = ''] = table(rows).split('\n'); // as long as the longest line
  const left = columns() - head.length - GAP.length;
  const specs = runs.map(({ spec }) =>
    spec === '' ? '' : shortPath(path.relative('', path.resolve(spec)), left),
  );
  const lines = table(rows.map((row, i) => [...row, i === 0 ? 'spec' : (specs[i - 1] ?? '')]));
  return lines
    .split('\n')
    .flatMap((line, i) => {
      const notes = runs[i - 1]?.notes?.replaceAll(/\s+/g, ' ');
      if (notes === undefined) return [line];
      const [first = ''] = wrap(notes, columns() - 4).split('\n');
      return [line, `  ${first}${first.length < notes.length ? ' …' : ''}`];
    })
    .join('\n');
}

function warnOfDamage(runs: readonly RunStatus[]): void {
  for (const { run, damaged } of runs)
    if (damaged > 0)
      warn(
        `${count(damaged, 'line')} of its journal ${damaged === 1 ? 'is' : 'are'} damaged ` +
          `and left out${runs.length > 1 ? ` (${run})` : ''}`,
      );
}

export function showRun(status: RunStatus): void {
  out(`${paint.bold(status.run)} ${status.state}  ${status.spec}`);
  if (status.notes !== null) out(status.notes.replaceAll(/^/gm, '  '));
  const { host, heard } = status;
  if (status.state === 'running' && host !== null) out(`  on ${host}`);
  if (status.state === 'silent')
    warn(
      `it has not ended, but its process${host === null ? '' : ` on ${host}`} gives no sign of ` +
        `life${heard === null ? '' : ` (last event: ${timeText(heard)} UTC)`}; ` +
        'dosimeter attach goes on with it',
    );
  out(
    [
      ...Object.entries(status.stages).map(([state, n]) => `${n} ${state}`),
      ...(status.seconds === null ? [] : [`in ${duration(status.seconds)}`]),
    ].join(', '),
  );
  warnOfDamage([status]);
  for (const stage of status.running) out(`  running ${stage}`);
  for (const { stage, error } of status.failed) out(paint.red(`  failed ${stage}: ${error}`));
}

/** Shortens `2026-01-31T12:00:00.000Z` to `2026-01-31 12:00:00`. */
const timeText = (time: string): string => time.slice(0, 19).replace('T', ' ');

/** Prints the logs of `stage`, the beginning of an id; without it, lists the logs of the run. */
export function logsCommand(
  stage: string | undefined,
  options: { readonly run?: string; readonly json?: boolean },
): number {
  const run = chooseRun(options.run);
  if (stage === undefined) listLogs(run, options.json === true);
  else printLogs(run, stage);
  return 0;
}

const runLogFile = ({ dir }: Run): string => path.join(dir, 'run.log');
const stageLogFile = ({ dir }: Run, stage: string): string =>
  path.join(dir, 'logs', `${stage}.log`);

const loggedStages = ({ dir }: Run): string[] =>
  readdirOr(path.join(dir, 'logs'))
    .filter((name) => name.endsWith('.log'))
    .map((name) => name.slice(0, -'.log'.length))
    .sort();

function listLogs(run: Run, asJson: boolean): void {
  const stages = loggedStages(run);
  if (asJson) {
    json({
      run: run.id,
      log: runLogFile(run),
      stages: stages.map((stage) => ({ stage, file: stageLogFile(run, stage) })),
    });
    return;
  }
  out(runLogFile(run));
  if (stages.length > 0) out(table(stages.map((stage) => [stage, stageLogFile(run, stage)])));
}

/**
 * Prints the logs of the stages whose id begins with `wanted`.
 * @throws UserFault if no such stage ran
 */
function printLogs(run: Run, wanted: string): void {
  const logged = loggedStages(run);
  const started = readJournal(run.dir).events.flatMap(({ event, stage }) =>
    event === 'stage-started' && typeof stage === 'string' ? [stage] : [],
  );
  const ran = [...new Set([...logged, ...started])].sort();
  const found = ran.filter((id) => id.startsWith(wanted));
  if (found.length === 0)
    throw new UserFault(
      `no stage "${wanted}" ran in ${run.id}`,
      ran.length > 0
        ? `those that ran: ${ran.slice(0, 8).join(', ')}${ran.length > 8 ? ', …' : ''}`
        : 'every stage was cached',
    );
  if (found.length > 1) remark(`${count(found.length, 'stage')}: ${found.join(', ')}`);
  const silent = found.filter((id) => !logged.includes(id));
  if (silent.length > 0) {
    const which = silent.length === found.length ? '' : `${silent.join(', ')}: `;
    remark(`${which}printed nothing; ${runLogFile(run)} says when it ran`);
  }
  for (const id of found)
    if (logged.includes(id)) process.stdout.write(readRegular(stageLogFile(run, id)));
}

/** Serves until it is interrupted. Only the address that it prints first holds the token. */
export async function serveCommand(options: {
  readonly port?: number;
  readonly ipv6?: boolean;
  readonly store?: string;
}): Promise<number> {
  const { port, ipv6, store } = options,
    runs = runsDir();
  const { serve } = await import('../serve/server.ts');
  const serving = await serve({
    runs,
    ...defined({ port, ipv6, store: store === undefined ? undefined : path.resolve(store) }),
    onFault: (error) =>
      say(paintErr.red(error instanceof Error ? (error.stack ?? error.message) : String(error))),
  });
  out(serving.url);
  remark(
    `shows the runs in ${path.relative('', runs)}, and changes nothing; ` +
      'who has this address can read them; Ctrl-C ends it',
  );
  await new Promise<void>((resolve) => {
    const release = onInterrupt(() => {
      release();
      resolve();
    });
  });
  await serving.close();
  return 0;
}
