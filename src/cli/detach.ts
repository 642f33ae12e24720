/** `dosimeter run --detach`: starts the run as a process of its own session, or as a Slurm job. */
import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutorDescriptor } from '../api.ts';
import { UserFault } from '../api.ts';
import { defaultExecutor } from '../run/executor.ts';
import { readJournal } from '../run/log/run-folder.ts';
import type { Prepared } from '../run/prepare.ts';
import { jobProgram } from '../run/registry/registry.ts';
import { runsDir, stateDir } from '../run/state-folder.ts';
import { makeFolder } from '../store/folders.ts';
import type { RunCommandOptions } from './run.ts';
import { out, say } from './terminal.ts';

/** Names the file that a detached run writes its id to. */
const STARTED = 'DOSIMETER_STARTED';
/** How long the command waits until the first jobs are submitted. */
const FIRST_JOBS_MS = 60_000;

/** Tells the command that started this process which run it has become. */
export function announceStart(run: string): void {
  const file = process.env[STARTED];
  if (file === undefined) return;
  delete process.env['DOSIMETER_STARTED']; // it is not for the workers
  try {
    writeFileSync(`${file}.tmp`, run);
    renameSync(`${file}.tmp`, file);
  } catch {
    // The command that waits for it has ended.
  }
}

/** Returns the arguments of a run without what detaches it. */
export function attachedArguments(argv: readonly string[]): readonly string[] {
  const kept: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] ?? '';
    if (argument === '--coordinator') i++;
    else if (argument !== '--detach' && !argument.startsWith('--coordinator=')) kept.push(argument);
  }
  return kept;
}

/** Starts this command's run in the background. Returns the exit code. */
export async function detachedRun(
  { registry, experiment }: Prepared,
  { executor = defaultExecutor, coordinator }: RunCommandOptions,
): Promise<number> {
  const command = [...jobProgram(), ...attachedArguments(process.argv.slice(2))];
  if (coordinator === 'job')
    return asJob(experiment.file, registry.get('executor', executor)?.descriptor, command);
  return asProcess(command, executor === 'slurm');
}

async function asJob(
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

async function asProcess(command: readonly string[], submits: boolean): Promise<number> {
  const [program = process.execPath, ...args] = command;
  const folder = path.join(stateDir(), 'coordinators');
  makeFolder(folder);
  const mark = path.join(folder, `${Date.now()}-${process.pid}`);
  const log = openSync(`${mark}.log`, 'a');
  const child = spawn(program, args, {
    detached: true, // a session of its own: a log-out does not reach it
    stdio: ['ignore', log, log],
    env: { ...process.env, [STARTED]: mark },
  });
  closeSync(log);
  const end: { code: number | null } = { code: null };
  child.once('error', () => (end.code = 1));
  child.once('exit', (code) => (end.code = code ?? 1));
  const hasEnded = (): boolean => end.code !== null;
  while (!existsSync(mark) && !hasEnded()) await sleep(50);
  if (!existsSync(mark)) {
    // It had nothing to run, or could not begin.
    process.stderr.write(readFileSync(`${mark}.log`, 'utf8'));
    rmSync(`${mark}.log`, { force: true });
    return end.code ?? 1;
  }
  const run = readFileSync(mark, 'utf8');
  rmSync(mark, { force: true });
  const dir = path.join(runsDir(), run);
  const until = performance.now() + FIRST_JOBS_MS;
  while (submits && !hasSubmitted(dir) && !hasEnded() && performance.now() < until)
    await sleep(100);
  child.unref();
  say(`run ${run} goes on in the background`);
  say(`  log: ${path.relative('', `${mark}.log`)}`);
  say(`dosimeter attach ${run} follows it, dosimeter cancel ${run} stops it`);
  out(run);
  return 0;
}

/** Whether the run has submitted its first jobs, or has settled stages without one. */
const hasSubmitted = (dir: string): boolean =>
  existsSync(path.join(dir, 'slurm.jsonl')) ||
  readJournal(dir).events.some(({ event }) => event === 'stage-ended' || event === 'ended');
