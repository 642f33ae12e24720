/** Submits work: jobs with equal requests as one array, recorded before sbatch is called. */
import { randomBytes } from 'node:crypto';
import type { SlurmClient, Submitted } from './client.ts';
import type { Profile } from './profile.ts';
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

/** Returns the work in batches of equal requests, each of at most `most`. */
export function batchesOf(
  queued: readonly Work[],
  profile: Profile,
  most: number,
): readonly Batch[] {
  const groups = new Map<string, { readonly request: Request; readonly works: Work[] }>();
  for (const work of queued) {
    const request = requestOf(profile, work.kind, loadOf(work), work.longer, work.more);
    const id = JSON.stringify(request);
    const group = groups.get(id) ?? { request, works: [] };
    groups.set(id, group);
    group.works.push(work);
  }
  return [...groups.values()].flatMap(({ request, works }) =>
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
