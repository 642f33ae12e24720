/** What concerns a run as a whole: its coordinator as a job, and its jobs, cancelled. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Cancelled, ExecutorDescriptor, SubmittedRun } from '../../../src/api.ts';
import { UserFault } from '../../../src/api.ts';
import { checkCommands, createClient } from './client.ts';
import { loadProfile } from './profile.ts';
import type { Request } from './request.ts';
import { linesOf, REQUEUE, sbatchArguments, start, waitFor } from './script.ts';
import { recordedSubmissions, Spool } from './spool.ts';

/** The stage kind whose settings in the profile are the coordinator's. */
const KIND = 'coordinator';
/** How long scancel may take. No spec is there that would name a profile. */
const CANCEL_SECONDS = 60;

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

type ContextOf<Method extends 'cancel' | 'submitRun'> = Parameters<
  NonNullable<ExecutorDescriptor[Method]>
>[0];

/** @throws UserFault if it can't be submitted */
export async function submitCoordinator({
  spec,
  env,
  command,
  dir,
  log,
}: ContextOf<'submitRun'>): Promise<SubmittedRun> {
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
  return { name, job: `Slurm job ${submitted.id}`, file };
}

/** Cancels every job that a run has submitted or adopted, and gives up the claims of their stages. */
export async function cancelSubmissions({
  dir,
  env,
  log,
}: ContextOf<'cancel'>): Promise<Cancelled> {
  const client = createClient({ env, callSeconds: CANCEL_SECONDS, log });
  const cancelled: string[] = [],
    failed: Cancelled['failed'][number][] = [];
  for (const { name, spool: root } of recordedSubmissions(dir)) {
    const spool = new Spool(root);
    if (!spool.hasSubmission(name)) continue; // every stage of it was stored
    for (const key of spool.claimedBy(name)) spool.disclaim(key);
    if (await client.cancel(name)) cancelled.push(name);
    else failed.push({ name, hint: `scancel --name=${name}` });
  }
  return { cancelled, failed };
}
