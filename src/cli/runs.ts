/** `dosimeter status` and `dosimeter logs`: runs, from their folders alone. */
import path from 'node:path';
import { UserFault } from '../api.ts';
import { runsDir } from '../engine/places.ts';
import { listRuns, readJournal } from '../log/run-folder.ts';
import { processState } from '../store/owner.ts';
import { readRegular } from '../store/regular.ts';
import { readdirOr } from '../store/sweep.ts';
import {
  columns,
  count,
  duration,
  json,
  out,
  paint,
  paintErr,
  say,
  table,
  tail,
} from './terminal.ts';

function chooseRun(id: string | undefined): { readonly id: string; readonly dir: string } {
  const runs = listRuns(runsDir());
  const run = id === undefined ? runs[0] : runs.find((one) => one.id.startsWith(id));
  if (!run)
    throw new UserFault(
      id === undefined
        ? `nothing has run here yet (${runsDir()})`
        : `no run "${id}" in ${runsDir()}`,
      runs.length > 0 ? `the latest is ${runs[0]!.id}` : 'dosimeter run <spec>',
    );
  return run;
}

interface RunStatus {
  readonly run: string;
  /** `unknown`: it has not ended, and this machine can't say whether its process lives. */
  readonly state: 'running' | 'done' | 'failed' | 'interrupted' | 'killed' | 'unknown';
  readonly spec: string;
  /** When it was started; null where its journal does not say. */
  readonly started: string | null;
  /** What it took; null while it goes on, and where it was killed. */
  readonly seconds: number | null;
  readonly stages: { readonly [state: string]: number };
  readonly running: readonly string[];
  readonly failed: readonly { readonly stage: string; readonly error: string }[];
  /** Lines of the journal that are not what was written; left out. */
  readonly damaged: number;
}

function statusOf({ id, dir }: { readonly id: string; readonly dir: string }): RunStatus {
  const { events, damaged } = readJournal(dir);
  const created = events.find(({ event }) => event === 'created');
  const ended = events.find(({ event }) => event === 'ended');
  const running = new Set<string>(),
    failed: { stage: string; error: string }[] = [];
  const stages: { [state: string]: number } = {};
  for (const event of events) {
    if (event['event'] === 'started') stages['to run'] = Number(event['stages']);
    if (event['event'] === 'stage-started') running.add(String(event['stage']));
    if (event['event'] !== 'stage-ended') continue;
    const state = String(event['state']);
    running.delete(String(event['stage']));
    stages[state] = (stages[state] ?? 0) + 1;
    if (state === 'failed')
      failed.push({ stage: String(event['stage']), error: String(event['error']) });
  }
  const unended = { alive: 'running', dead: 'killed', unknown: 'unknown' } as const;
  const state = ended
    ? ended['interrupted'] === true
      ? 'interrupted'
      : failed.length > 0
        ? 'failed'
        : 'done'
    : unended[processState(created ?? {})];
  return {
    run: id,
    state,
    spec: String(created?.['spec'] ?? ''),
    started: typeof created?.['time'] === 'string' ? created['time'] : null,
    seconds: typeof ended?.['seconds'] === 'number' ? ended['seconds'] : null,
    stages,
    running: state === 'running' || state === 'unknown' ? [...running] : [],
    failed,
    damaged,
  };
}

/** So many runs are listed unless `--all` is given. */
const LISTED = 10;

/** Without an id: a list of runs, or with `--json` the latest one. */
export async function statusCommand(
  run: string | undefined,
  options: { readonly json?: boolean; readonly all?: boolean },
): Promise<number> {
  if (run !== undefined || (options.json === true && options.all !== true)) {
    const status = statusOf(chooseRun(run));
    if (options.json) json(status);
    else showRun(status);
    return 0;
  }
  const { id } = chooseRun(undefined),
    runs = listRuns(runsDir());
  const listed = (options.all ? runs : runs.slice(0, LISTED)).map(statusOf);
  if (options.json) json(listed);
  else {
    out(runTable(listed));
    tellDamage(listed);
    if (listed.length < runs.length)
      say(paintErr.dim(`${runs.length - listed.length} earlier: --all lists every run`));
    say(paintErr.dim(`dosimeter status ${id} says more of one`));
  }
  return 0;
}

/** What the columns before the spec take at most. */
const BEFORE_SPEC = 68;

/** Newest first. What was cached before a run began is not counted. */
function runTable(runs: readonly RunStatus[]): string {
  const time = (text: string | null): string =>
    text === null ? '' : text.slice(5, 16).replace('T', ' ');
  return table([
    ['run', 'state', 'began (UTC)', 'done', 'failed', 'spec'],
    ...runs.map(({ run, state, started, stages, spec }) => {
      const done = (stages['ran'] ?? 0) + (stages['cached'] ?? 0);
      return [
        run,
        state,
        time(started),
        `${done}/${stages['to run'] ?? '?'}`,
        String((stages['failed'] ?? 0) + (stages['blocked'] ?? 0)),
        spec === '' ? '' : tail(path.relative('', path.resolve(spec)), columns() - BEFORE_SPEC),
      ];
    }),
  ]);
}

function tellDamage(runs: readonly RunStatus[]): void {
  for (const { run, damaged } of runs)
    if (damaged > 0)
      say(
        paintErr.yellow(
          `${count(damaged, 'line')} of its journal ${damaged === 1 ? 'is' : 'are'} damaged and left out${runs.length > 1 ? ` (${run})` : ''}`,
        ),
      );
}

function showRun(status: RunStatus): void {
  out(`${paint.bold(status.run)} ${status.state}  ${status.spec}`);
  if (status.state === 'unknown')
    say(
      paintErr.yellow(
        'it has not ended; whether it goes on can be told only on the machine that it was started on',
      ),
    );
  out(
    [
      ...Object.entries(status.stages).map(([state, n]) => `${n} ${state}`),
      ...(status.seconds === null ? [] : [`in ${duration(status.seconds)}`]),
    ].join(', '),
  );
  tellDamage([status]);
  for (const stage of status.running) out(`  running ${stage}`);
  for (const { stage, error } of status.failed) out(paint.red(`  failed ${stage}: ${error}`));
}

export async function logsCommand(
  stage: string | undefined,
  options: { readonly run?: string; readonly json?: boolean },
): Promise<number> {
  const { id, dir } = chooseRun(options.run);
  const logs = path.join(dir, 'logs'),
    runLog = path.join(dir, 'run.log');
  const fileOf = (name: string): string => path.join(logs, `${name}.log`);
  const names = readdirOr(logs)
    .filter((name) => name.endsWith('.log'))
    .map((name) => name.slice(0, -4))
    .sort();
  if (stage === undefined) {
    if (options.json)
      json({
        run: id,
        log: runLog,
        stages: names.map((name) => ({ stage: name, file: fileOf(name) })),
      });
    else {
      out(runLog);
      if (names.length > 0) out(table(names.map((name) => [name, fileOf(name)])));
    }
    return 0;
  }
  const ran = [
    ...new Set([
      ...names,
      ...readJournal(dir)
        .events.filter(({ event }) => event === 'stage-started')
        .map((event) => String(event['stage'])),
    ]),
  ].sort();
  const found = ran.filter((name) => name.startsWith(stage));
  if (found.length === 0)
    throw new UserFault(
      `no stage "${stage}" ran in ${id}`,
      ran.length > 0
        ? `those that ran: ${ran.slice(0, 8).join(', ')}${ran.length > 8 ? ', …' : ''}`
        : 'every stage was cached',
    );
  if (found.length > 1) say(paintErr.dim(`${count(found.length, 'stage')}: ${found.join(', ')}`));
  const silent = found.filter((name) => !names.includes(name));
  if (silent.length > 0)
    say(
      paintErr.dim(
        `${silent.length === found.length ? '' : `${silent.join(', ')}: `}said nothing; ${runLog} has when`,
      ),
    );
  for (const name of found)
    if (names.includes(name)) process.stdout.write(readRegular(fileOf(name)));
  return 0;
}
