/** Submits the coordinator of a run as a job, for sites that forbid processes on login nodes. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../../../src/api.ts';
import { checkCommands, createClient } from './client.ts';
import { loadProfile } from './profile.ts';
import type { Request } from './request.ts';
import { sbatchArguments } from './script.ts';
import { linesOf, REQUEUE, start, waitFor } from './shell.ts';

/** The stage kind whose settings in the profile are the coordinator's. */
const KIND = 'coordinator';

/**
 * Returns the script. Its first argument is the file that everything is printed to, the rest is the
 * command of the run. Before its time limit, the run leaves its jobs in flight and the coordinator
 * requeues itself; it adopts them when it starts again.
 */
const coordinatorScript = (setup: readonly string[]): string => `#!/bin/bash
log=$1
shift
exec >>"$log" 2>&1 </dev/null
${linesOf(setup)}${start('run', '"$@"')}
${waitFor('run')}
if [ -n "$requeue" ]; then
  ${REQUEUE}
fi
exit "$code"
`;

export interface CoordinatorOptions {
  /** The absolute path of the spec, beside which the profile may lie. */
  readonly spec: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The command of the run, as an argument list. */
  readonly command: readonly string[];
  /** A folder for the script and for what the coordinator prints. */
  readonly dir: string;
  readonly log: (message: string) => void;
}

/**
 * @returns the job's name, its id, and the file that it prints to
 * @throws UserFault if it can't be submitted
 */
export async function submitCoordinator({
  spec,
  env,
  command,
  dir,
  log,
}: CoordinatorOptions): Promise<{
  readonly name: string;
  readonly id: string;
  readonly file: string;
}> {
  const profile = loadProfile(spec, env);
  await checkCommands(env);
  const settings = profile.settings(KIND);
  const request: Request = {
    kind: KIND,
    seconds: settings.maxTime,
    memoryMB: settings.memoryMB,
    cpus: settings.cpus ?? 1,
    gpus: 0,
  };
  const name = `dosimeter-${KIND}-${randomBytes(6).toString('hex')}`;
  const script = path.join(dir, `${name}.sh`),
    file = path.join(dir, `${name}.log`);
  mkdirSync(dir, { recursive: true });
  writeFileSync(script, coordinatorScript(settings.setup));
  const submitted = await createClient({ env, callSeconds: profile.callSeconds, log }).submit(
    sbatchArguments(request, settings, {
      name,
      tasks: 1,
      dir: file,
      script,
      taskCommand: command,
      exclude: profile.exclude,
      cwd: process.cwd(),
    }),
  );
  if (submitted.type !== 'submitted')
    throw new UserFault(
      `the coordinator was not submitted: ${submitted.words}`,
      submitted.type === 'uncertain' ? `squeue --name=${name} says whether it was` : undefined,
    );
  return { name, id: submitted.id, file };
}
