/** `run --detach`, and `attach` and `cancel`, which work by a run's files from any login node. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ExecutorDescriptor, type JsonObject, UserFault } from '../api.ts';
import { defaultExecutor } from '../run/executor.ts';
import { readJournal } from '../run/log/run-folder.ts';
import type { Prepared } from '../run/prepare.ts';
import { jobProgram } from '../run/registry/build.ts';
import { askToStop, isBeating, type RunStatus, runStatus } from '../run/run-status.ts';
import { runsDir, stateDir } from '../run/state-folder.ts';
import { makeFolder } from '../store/folders.ts';
import { type RunCommandOptions, STARTED } from './run.ts';
import { chooseRun, type Run, showRun } from './runs.ts';
import { DONE, duration, FAILED, INTERRUPTED, out, paintErr, say } from './terminal.ts';

const POLL_MS = 500;
/** After this many polls of the journal without an event, the run's process is checked. */
const MOST_QUIET_POLLS = 60;
const STOP_WAIT_MS = 30_000;

/** Whether a run is running, or is on another host, so that its state is not known. */
const mayBeRunning = ({ state }: RunStatus): boolean => state === 'running' || state === 'unknown';

/** Whether a run’s process lives. If the run is on another host, waits for its heartbeat. */
async function isAlive(run: Run): Promise<boolean> {
  const { state } = runStatus(run);
  if (state === 'unknown') {
    say('checking whether it is alive on another host …');
    return isBeating(run.dir, () => !mayBeRunning(runStatus(run)));
  }
  return state === 'running';
}

/**
 * Follows a run until it ends, or resumes it if it was interrupted. Returns the exit code.
 * @throws UserFault if there is no such run
 */
export async function attachCommand(id: string | undefined): Promise<number> {
  const run = chooseRun(id);
  if (await isAlive(run)) await printEvents(run);
  const status = runStatus(run);
  if (status.state === 'done' || status.state === 'failed') {
    showRun(status);
    return status.state === 'done' ? DONE : FAILED;
  }
  return resumeRun(run);
}

/** Prints a run’s events as they are written, until it has ended or its process is dead. */
async function printEvents(run: Run): Promise<void> {
  let seen = 0,
    done = 0,
    quiet = 0;
  say(`following ${run.id}; Ctrl-C leaves it alone`);
  for (;;) {
    const { events } = readJournal(run.dir);
    const total = Number(events.find(({ event }) => event === 'started')?.['stages'] ?? 0);
    for (const event of events.slice(seen)) {
      if (event['event'] === 'stage-ended') done++;
      const line = eventLine(event, `[${done}/${total}]`);
      if (line !== null) say(line);
    }
    quiet = events.length > seen ? 0 : quiet + 1;
    seen = events.length;
    if (events.some(({ event }) => event === 'ended')) return;
    if (quiet >= MOST_QUIET_POLLS) {
      if (!(await isAlive(run))) return;
      quiet = 0;
    }
    await sleep(POLL_MS);
  }
}

/** Returns the line for an event; null for an event that is not shown. */
function eventLine(event: JsonObject, place: string): string | null {
  const text = (name: string): string => {
    const value = event[name];
    return typeof value === 'string' ? value : '';
  };
  if (event['event'] === 'note') return paintErr.yellow(text('message'));
  if (event['event'] !== 'stage-ended') return null;
  const { seconds } = event;
  const words = [place, text('stage'), text('state')];
  if (typeof seconds === 'number') words.push(duration(seconds));
  return event['state'] === 'failed'
    ? paintErr.red(`${words.join(' ')}: ${text('error')}`)
    : words.join(' ');
}

/**
 * Runs the command of an interrupted run again: it adopts the jobs in flight. Returns the exit
 * code.
 * @throws UserFault if the command was not `dosimeter run`, or had a secret, which is not recorded
 */
async function resumeRun(run: Run): Promise<number> {
  const created = readJournal(run.dir).events.find(({ event }) => event === 'created');
  const argv = created?.['argv'];
  if (!Array.isArray(argv) || argv[0] !== 'run' || !argv.every((one) => typeof one === 'string'))
    throw new UserFault(
      `${run.id} was not started by \`dosimeter run\``,
      'start it again in the way it was started: what is finished is not run again',
    );
  if (argv.some((argument) => argument.includes('${env.')))
    throw new UserFault(
      `${run.id} was given a secret, which is not recorded`,
      'start it again with the same command: it adopts the jobs in flight',
    );
  const again = attachedArguments(argv);
  say(`${run.id} was interrupted: going on with dosimeter ${again.join(' ')}`);
  process.argv.splice(2, process.argv.length, ...again);
  const { runCli } = await import('./program.ts');
  return runCli(again);
}

/**
 * Stops a run and cancels its jobs. Returns INTERRUPTED if a job could not be cancelled, otherwise
 * DONE.
 * @throws UserFault if there is no such run
 */
export async function cancelCommand(id: string | undefined): Promise<number> {
  const run = chooseRun(id);
  if (mayBeRunning(runStatus(run))) await stopRun(run);
  const { loadRegistry } = await import('../run/registry/registry.ts');
  let code = DONE;
  for (const { descriptor } of (await loadRegistry()).all('executor')) {
    const found = await descriptor.cancel?.({ dir: run.dir, env: process.env, log: say });
    for (const name of found?.cancelled ?? []) say(`cancelled ${name}`);
    for (const { name, hint } of found?.failed ?? []) {
      say(paintErr.red(`${name} could not be cancelled; try ${hint}`));
      code = INTERRUPTED;
    }
  }
  out(`${run.id} ${runStatus(run).state}`);
  return code;
}

/** Asks a run to stop, and waits half a minute at most. Says so if its process does not answer. */
async function stopRun(run: Run): Promise<void> {
  askToStop(run.dir);
  const until = performance.now() + STOP_WAIT_MS;
  while (mayBeRunning(runStatus(run)) && performance.now() < until) await sleep(100);
  const status = runStatus(run);
  if (mayBeRunning(status) || status.state === 'killed')
    say(`nothing is heard of its process; its jobs are cancelled from ${path.basename(run.dir)}`);
}

const FIRST_JOBS_WAIT_MS = 60_000;

/** Returns a run's arguments without the options that detach it. */
function attachedArguments(argv: readonly string[]): readonly string[] {
  const kept: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] ?? '';
    if (argument === '--coordinator') i++;
    else if (argument !== '--detach' && !argument.startsWith('--coordinator=')) kept.push(argument);
  }
  return kept;
}

/** Starts this command's run in the background. Returns the exit code. */
export function detachedRun(
  { registry, experiment }: Prepared,
  { executor = defaultExecutor, coordinator }: RunCommandOptions,
): Promise<number> {
  const command = [...jobProgram(), ...attachedArguments(process.argv.slice(2))];
  const descriptor = registry.get('executor', executor)?.descriptor;
  return coordinator === 'job'
    ? startAsJob(experiment.file, descriptor, command)
    : startAsProcess(command, descriptor);
}

/**
 * Submits the run as a job, and returns the exit code. Throws `UserFault` if the executor can't do
 * so.
 */
async function startAsJob(
  spec: string,
  executor: ExecutorDescriptor | undefined,
  command: readonly string[],
): Promise<number> {
  if (executor?.submitRun === undefined)
    throw new UserFault(
      '--coordinator job needs --executor slurm',
      'without it, --detach goes on in a process of this machine',
    );
  const { name, job, file } = await executor.submitRun({
    spec: path.resolve(spec),
    env: process.env,
    command,
    dir: path.join(stateDir(), 'coordinators'),
    log: say,
  });
  say(`the coordinator is ${job} (${name})`);
  say(`  log: ${path.relative('', file)}`);
  say('once it has begun: dosimeter status, dosimeter attach, dosimeter cancel');
  out(name);
  return 0;
}

/**
 * Starts the run in a process with a session of its own. The process writes the run's id to
 * `startedFile` when the run begins. Returns its exit code if it ended before the run began,
 * otherwise 0. With an executor that submits jobs, waits until the first jobs are submitted, a
 * stage or the run has ended, or a minute is over.
 */
async function startAsProcess(
  command: readonly string[],
  executor: ExecutorDescriptor | undefined,
): Promise<number> {
  const [program = process.execPath, ...args] = command;
  const folder = path.join(stateDir(), 'coordinators');
  makeFolder(folder);
  const startedFile = path.join(folder, `${Date.now()}-${process.pid}`);
  const log = openSync(`${startedFile}.log`, 'a');
  const child = spawn(program, args, {
    detached: true, // a session of its own: a log-out does not reach it
    stdio: ['ignore', log, log],
    env: { ...process.env, [STARTED]: startedFile },
  });
  closeSync(log);
  const end: { code: number | null } = { code: null };
  child.once('error', () => (end.code = 1));
  child.once('exit', (code) => (end.code = code ?? 1));
  const hasEnded = (): boolean => end.code !== null;
  while (!existsSync(startedFile) && !hasEnded()) await sleep(50);
  if (!existsSync(startedFile)) {
    // The run had nothing to do, or could not begin.
    process.stderr.write(readFileSync(`${startedFile}.log`, 'utf8'));
    rmSync(`${startedFile}.log`, { force: true });
    return end.code ?? 1;
  }
  const run = readFileSync(startedFile, 'utf8');
  rmSync(startedFile, { force: true });
  const dir = path.join(runsDir(), run);
  const until = performance.now() + FIRST_JOBS_WAIT_MS;
  const isUnderWay = async (): Promise<boolean> =>
    executor?.hasSubmitted === undefined ||
    (await executor.hasSubmitted(dir)) ||
    readJournal(dir).events.some(({ event }) => event === 'stage-ended' || event === 'ended');
  while (!(await isUnderWay()) && !hasEnded() && performance.now() < until) await sleep(100);
  child.unref();
  say(`run ${run} goes on in the background`);
  say(`  log: ${path.relative('', `${startedFile}.log`)}`);
  say(`dosimeter attach ${run} follows it, dosimeter cancel ${run} stops it`);
  out(run);
  return 0;
}
