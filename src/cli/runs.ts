/** `dosimeter status` and `dosimeter logs`: runs, from their folders alone. */
import path from 'node:path';
import { UserFault } from '../api.ts';
import { listRuns, readJournal } from '../log/run-folder.ts';
import { runsDir } from '../engine/places.ts';
import { processState } from '../store/owner.ts';
import { readRegular } from '../store/regular.ts';
import { readdirOr } from '../store/sweep.ts';
import { count, json, out, paint, paintErr, say, table } from './terminal.ts';

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
    stages,
    running: state === 'running' || state === 'unknown' ? [...running] : [],
    failed,
    damaged,
  };
}

export async function statusCommand(
  run: string | undefined,
  options: { readonly json?: boolean },
): Promise<number> {
  const status = statusOf(chooseRun(run));
  if (options.json) {
    json(status);
    return 0;
  }
  out(`${paint.bold(status.run)} ${status.state}  ${status.spec}`);
  if (status.state === 'unknown')
    say(
      paintErr.yellow(
        'it has not ended; whether it goes on can be told only on the machine that it was started on',
      ),
    );
  out(
    Object.entries(status.stages)
      .map(([state, n]) => `${n} ${state}`)
      .join(', '),
  );
  if (status.damaged > 0)
    say(
      paintErr.yellow(
        `${count(status.damaged, 'line')} of its journal ${status.damaged === 1 ? 'is' : 'are'} damaged and left out`,
      ),
    );
  for (const stage of status.running) out(`  running ${stage}`);
  for (const { stage, error } of status.failed) out(paint.red(`  failed ${stage}: ${error}`));
  return 0;
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
