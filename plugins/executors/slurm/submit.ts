/**
 * Submits work, or says what would be submitted: jobs with equal requests are one array, recorded
 * before sbatch is called.
 */
import { randomBytes } from 'node:crypto';
import type { ExecutorContext, ForeseenGroup, ForeseenJob } from '../../../src/api.ts';
import type { SlurmClient, Submitted } from './client.ts';
import type { Profile } from './profile.ts';
import { loadProfile } from './profile.ts';
import type { Request } from './request.ts';
import { requestOf } from './request.ts';
import { batchScript, sbatchArguments } from './script.ts';
import type { Spool } from './spool.ts';
import type { Work } from './work.ts';
import { loadOf, newTask } from './work.ts';

/** Slurm's own default of MaxArraySize is 1001, which allows for the indices 0 to 1000. */
const USUAL_ARRAY = 1000;

export interface SubmitContext {
  readonly spool: Spool;
  readonly client: SlurmClient;
  readonly profile: Profile;
  readonly taskCommand: readonly string[];
  readonly excluded: ReadonlySet<string>;
}

/** Work that goes into one array. */
export interface Batch {
  readonly request: Request;
  readonly works: readonly Work[];
}

/** Returns the jobs with equal requests together, in the order of their first ones. */
function alike<T>(
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

/** Returns the work in batches of equal requests, each of at most `most`. */
export function batchesOf(
  queued: readonly Work[],
  profile: Profile,
  most: number,
): readonly Batch[] {
  return alike(queued, (work) =>
    requestOf(profile, work.kind, loadOf(work), work.longer, work.more),
  ).flatMap(([request, works]) =>
    Array.from({ length: Math.ceil(works.length / most) }, (_, i) => ({
      request,
      works: works.slice(i * most, (i + 1) * most),
    })),
  );
}

/** Returns the most tasks that an array may have. */
export async function arrayLimit({
  profile,
  client,
}: Pick<SubmitContext, 'profile' | 'client'>): Promise<number> {
  const site = (await client.arraySize()) ?? USUAL_ARRAY;
  return Math.max(1, Math.min(site, profile.maxArray ?? site));
}

/** Returns the kind in the characters that a job's name may have. */
const slug = (kind: string): string =>
  kind
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 40);

const newName = (kind: string): string =>
  `dosimeter-${slug(kind)}-${randomBytes(6).toString('hex')}`;

export type Outcome = Submitted & { readonly name: string };

/**
 * Submits a batch as one job or array. The intent and the claims of all its stages are on the disk
 * before sbatch is called, so that a later coordinator finds the jobs even if this one dies now.
 * They are removed if it certainly was not submitted.
 */
export async function submitBatch(
  { request, works }: Batch,
  { spool, client, profile, taskCommand, excluded }: SubmitContext,
): Promise<Outcome> {
  const name = newName(request.kind);
  const settings = profile.settings(request.kind);
  const dir = spool.submissionDir(name);
  const args = sbatchArguments(request, settings, {
    name,
    tasks: works.length,
    dir,
    said: spool.saidDir,
    script: `${dir}/script.sh`,
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
      // Half of the time between the signal and the end: the rest is for the store's disk.
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
    spool.removeSubmission(name);
  }
  return { ...submitted, name };
}

/**
 * Returns what would be submitted, without submitting it.
 * @throws UserFault if the profile is at fault
 */
export function foreseeSlurm(
  jobs: readonly ForeseenJob[],
  { env, spec, taskCommand }: Pick<ExecutorContext, 'env' | 'spec' | 'taskCommand'>,
): readonly ForeseenGroup[] {
  const profile = loadProfile(spec, env);
  const submitted = jobs.filter(({ kind }) => !profile.local.has(kind));
  return alike(submitted, (job) => requestOf(profile, job.kind, [job])).map(([request, group]) =>
    groupOf(request, group, profile, taskCommand),
  );
}

function groupOf(
  request: Request,
  jobs: readonly ForeseenJob[],
  profile: Profile,
  taskCommand: readonly string[],
): ForeseenGroup {
  const settings = profile.settings(request.kind);
  const seconds = jobs.map(({ demand }) => demand.seconds);
  const known = seconds.filter((one) => one !== undefined);
  return {
    kind: request.kind,
    jobs: jobs.length,
    stages: jobs.reduce((sum, { stages }) => sum + stages, 0),
    seconds: request.seconds,
    expected: known.length < jobs.length ? null : known.reduce((sum, one) => sum + one, 0),
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
