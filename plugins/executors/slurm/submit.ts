/**
 * Submits work, or says what would be submitted. Jobs with equal requests form an array, which is
 * recorded before sbatch is called. Also submits a run's coordinator as a job, and cancels the jobs
 * of a run.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  type Cancelled,
  type ExecutorContext,
  type ExecutorDescriptor,
  type ForeseenGroup,
  type ForeseenJob,
  type SubmittedRun,
  UserFault,
} from '../../../src/api.ts';
import { checkCommands, createClient, type SlurmClient, type Submitted } from './client.ts';
import { loadProfile, type Profile } from './profile.ts';
import {
  batchScript,
  estimateRequest,
  expectedSeconds,
  joinLines,
  type Request,
  REQUEUE,
  sbatchArguments,
  startScript,
  waitScript,
} from './script.ts';
import { recordedSubmissions, Spool } from './spool.ts';
import { loadsIn, newTask, type Work } from './work.ts';

/**
 * The most jobs of an array if the site's limit is not known: Slurm's own default of MaxArraySize
 * is 1001, which allows for the indices 0 to 1000.
 */
const USUAL_ARRAY = 1000;

export interface SubmitContext {
  readonly spool: Spool;
  readonly client: SlurmClient;
  readonly profile: Profile;
  readonly taskCommand: readonly string[];
  /** Nodes that no further job is given to. */
  readonly excluded: Set<string>;
}

/** Work with equal requests, to be submitted as one job or array. */
export interface Batch {
  readonly request: Request;
  readonly works: readonly Work[];
}

/** Groups jobs by what they ask for. The groups are in the order of their first jobs. */
function groupByRequest<T>(
  jobs: readonly T[],
  requested: (job: T) => Request,
): readonly (readonly [Request, readonly T[]])[] {
  const groups = new Map<string, readonly [Request, T[]]>();
  for (const job of jobs) {
    const request = requested(job);
    const id = JSON.stringify(request);
    const group = groups.get(id) ?? [request, []];
    groups.set(id, group);
    group[1].push(job);
  }
  return [...groups.values()];
}

/** Divides work into batches of at most `most` jobs, which have equal requests. */
export function batchByRequest(
  queued: readonly Work[],
  profile: Profile,
  most: number,
): readonly Batch[] {
  return groupByRequest(queued, (work) =>
    estimateRequest(profile, work.kind, loadsIn(work), work.longer, work.more),
  ).flatMap(([request, works]) =>
    Array.from({ length: Math.ceil(works.length / most) }, (_, i) => ({
      request,
      works: works.slice(i * most, (i + 1) * most),
    })),
  );
}

/**
 * Returns the most jobs of one array: the site's limit (USUAL_ARRAY if it is not known), or the
 * profile's if that is lower.
 */
export async function arrayLimit({
  profile,
  client,
}: Pick<SubmitContext, 'profile' | 'client'>): Promise<number> {
  const site = (await client.arraySize()) ?? USUAL_ARRAY;
  return Math.max(1, Math.min(site, profile.maxArray ?? site));
}

function newSubmissionName(kind: string): string {
  const slug = kind.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
  return `dosimeter-${slug.slice(0, 40)}-${randomBytes(6).toString('hex')}`;
}

/**
 * The answer to a submission, with the submission's name. `unread`: sbatch found no script, because
 * the submission's folder had been removed.
 */
export type Outcome = (Submitted | { readonly type: 'unread'; readonly message: string }) & {
  readonly name: string;
};

/**
 * Submits a batch as one job or array. The intent and all claims are on the disk before sbatch is
 * called, so that a later coordinator finds the jobs even if this one dies now. If the batch was
 * certainly not submitted, both are removed again.
 */
export async function submitBatch(
  { request, works }: Batch,
  { spool, client, profile, taskCommand, excluded }: SubmitContext,
): Promise<Outcome> {
  const name = newSubmissionName(request.kind);
  const settings = profile.settings(request.kind);
  const dir = spool.submissionDir(name);
  const args = sbatchArguments(request, settings, {
    name,
    tasks: works.length,
    dir,
    said: spool.saidDir,
    script: spool.scriptFile(name),
    taskCommand,
    exclude: [...excluded],
    cwd: process.cwd(),
  });
  spool.writeSubmission(
    name,
    batchScript(settings.setup, request.gpus),
    works.map(({ members }) => ({
      members: [...members].map(({ job, key }) => ({
        job: { ...job, outDir: '' },
        dir: spool.stageDir(key),
      })),
      // Half of the time between the signal and the end; the rest is for writing to the store.
      graceSeconds: Math.max(5, Math.floor(settings.signal / 2)),
    })),
  );
  spool.setIntent({
    name,
    created: new Date().toISOString(),
    request,
    arguments: args,
    tries: Math.max(...works.map(({ tries }) => tries)),
    longer: Math.max(...works.map(({ longer }) => longer)),
    more: Math.max(...works.map(({ more }) => more)),
  });
  works.forEach((work, index) => {
    const claim = { submission: name, task: index };
    const keys = [...work.members].map(({ key }) => key);
    for (const key of keys) spool.setClaim(key, claim);
    work.task = newTask(spool, claim, null, keys);
  });
  const submitted = await client.submit(args);
  if (submitted.type === 'submitted') {
    spool.setSubmitted(name, submitted.id);
    for (const { task } of works) if (task) task.id = submitted.id;
  } else if (submitted.type !== 'uncertain') {
    for (const work of works) {
      work.task = null;
      for (const { key } of work.members) spool.disclaim(key);
    }
    const isUnread = submitted.type === 'refused' && !spool.hasScript(name);
    spool.removeSubmission(name);
    if (isUnread) return { type: 'unread', message: submitted.message, name };
  }
  return { ...submitted, name };
}

/**
 * Returns the arrays that would be submitted for these jobs if arrays could have any size. Kinds
 * that the profile lists under `local` are left out.
 */
export function foreseeSlurm(
  jobs: readonly ForeseenJob[],
  { env, spec, taskCommand }: Pick<ExecutorContext, 'env' | 'spec' | 'taskCommand'>,
): readonly ForeseenGroup[] {
  const profile = loadProfile(spec, env);
  const submitted = jobs.filter(({ kind }) => !profile.local.has(kind));
  return groupByRequest(submitted, ({ kind, stages }) =>
    estimateRequest(profile, kind, stages),
  ).map(([request, group]) => foreseenGroup(request, group, profile, taskCommand));
}

/** Describes one array as `plan` shows it. */
function foreseenGroup(
  request: Request,
  jobs: readonly ForeseenJob[],
  profile: Profile,
  taskCommand: readonly string[],
): ForeseenGroup {
  const settings = profile.settings(request.kind);
  const stages = jobs.flatMap((job) => job.stages);
  return {
    kind: request.kind,
    jobs: jobs.length,
    stages: stages.length,
    seconds: request.seconds,
    expected: expectedSeconds(stages),
    memoryMB: request.memoryMB,
    gpus: request.gpus,
    cpus: request.cpus,
    command: [
      'sbatch',
      ...sbatchArguments(request, settings, {
        name: 'NAME',
        tasks: jobs.length,
        dir: 'FOLDER',
        said: 'FOLDER',
        script: 'FOLDER/script.sh',
        taskCommand,
        exclude: profile.exclude,
        cwd: process.cwd(),
      }),
    ],
    script: batchScript(settings.setup, request.gpus),
  };
}

/** The name under `kinds` of the profile whose settings are the coordinator's. */
const COORDINATOR_KIND = 'coordinator';
/**
 * How many seconds a call of scancel may take. The profile's `call_timeout` does not apply, since
 * `cancel` reads no spec and so no profile.
 */
const CANCEL_SECONDS = 60;

/**
 * Returns the coordinator's batch script. Its first argument is the file that gets all output, the
 * rest the command of the run. At the coordinator's time limit, the run ends and leaves its jobs in
 * flight. The coordinator then requeues itself; when it starts again, the run adopts those jobs.
 */
const coordinatorScript = (setup: readonly string[]): string => `#!/bin/bash
log=$1
shift
exec >>"$log" 2>&1 </dev/null
${joinLines(setup)}${startScript('run', '"$@"')}
${waitScript('run')}
if [ -n "$requeue" ]; then
  ${REQUEUE}
fi
exit "$code"
`;

type ContextOf<Method extends 'cancel' | 'submitRun'> = Parameters<
  NonNullable<ExecutorDescriptor[Method]>
>[0];

/**
 * Submits a run's coordinator as a job. Throws UserFault if this machine has no sbatch, if the
 * profile has a fault, or if sbatch refused the job or may not have submitted it.
 */
export async function submitCoordinator({
  spec,
  env,
  command,
  dir,
  log,
}: ContextOf<'submitRun'>): Promise<SubmittedRun> {
  const profile = loadProfile(spec, env);
  await checkCommands(env);
  const settings = profile.settings(COORDINATOR_KIND);
  const request: Request = {
    kind: COORDINATOR_KIND,
    seconds: settings.maxTime,
    memoryMB: settings.memoryMB,
    cpus: settings.cpus ?? 1,
    gpus: 0,
  };
  const name = newSubmissionName(COORDINATOR_KIND);
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
      `the coordinator was not submitted: ${submitted.message}`,
      submitted.type === 'uncertain' ? `squeue --name=${name} says whether it was` : undefined,
    );
  return { name, job: `Slurm job ${submitted.id}`, file };
}

/**
 * Cancels every job that a run submitted or adopted. Removes the claims of the stages in these
 * jobs, so that the next run submits the stages anew. Returns the names of the submissions for
 * which scancel succeeded, and those for which it failed; leaves out those whose folder is gone.
 */
export async function cancelSubmissions({
  dir,
  env,
  log,
}: ContextOf<'cancel'>): Promise<Cancelled> {
  const client = createClient({ env, callSeconds: CANCEL_SECONDS, log });
  const cancelled: string[] = [],
    failed: Cancelled['failed'][number][] = [];
  for (const [name, root] of recordedSubmissions(dir)) {
    const spool = new Spool(root);
    if (!spool.hasSubmission(name)) continue; // removed once all its stages were stored
    for (const key of spool.claimedBy(name)) spool.disclaim(key);
    if (await client.cancel(name)) cancelled.push(name);
    else failed.push({ name, hint: `scancel --name=${name}` });
  }
  return { cancelled, failed };
}
