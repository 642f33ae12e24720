/** What would be submitted, without submitting it. */
import type { ExecutorContext, ForeseenGroup, ForeseenJob } from '../../../src/api.ts';
import type { Profile } from './profile.ts';
import { loadProfile } from './profile.ts';
import type { Request } from './request.ts';
import { requestOf } from './request.ts';
import { batchScript, sbatchArguments } from './script.ts';

/** @throws UserFault if the profile is at fault */
export function foreseeSlurm(
  jobs: readonly ForeseenJob[],
  { env, spec, taskCommand }: Pick<ExecutorContext, 'env' | 'spec' | 'taskCommand'>,
): readonly ForeseenGroup[] {
  const profile = loadProfile(spec, env);
  const groups = new Map<string, { readonly request: Request; readonly jobs: ForeseenJob[] }>();
  for (const job of jobs) {
    if (profile.local.has(job.kind)) continue;
    const request = requestOf(profile, job.kind, [job]);
    const id = JSON.stringify(request);
    const group = groups.get(id) ?? { request, jobs: [] };
    groups.set(id, group);
    group.jobs.push(job);
  }
  return [...groups.values()].map((group) =>
    groupOf(group.request, group.jobs, profile, taskCommand),
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
