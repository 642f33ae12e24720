/** `dosimeter plan --executor NAME`: the jobs that would be submitted. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { ForeseenGroup } from '../api.ts';
import { foresee } from '../run/foresee.ts';
import type { Prepared } from '../run/prepare.ts';
import { stateDir } from '../run/state-folder.ts';
import { makeFolder } from '../store/folders.ts';
import { count, duration, json, out, say, table } from './terminal.ts';

export interface SubmissionOptions {
  readonly executor: string;
  /** The most stages in a job. */
  readonly pack: number;
  readonly json: boolean;
  /** The folder that batch scripts are written to; true for the default one. */
  readonly dryRun?: string | true;
}

export async function showSubmissions(
  prepared: Prepared,
  { executor, pack, json: asJson, dryRun }: SubmissionOptions,
): Promise<void> {
  const groups = await foresee(prepared, executor, pack);
  const hours = nodeHours(groups);
  if (asJson) json({ jobs: groups, node_hours: hours });
  else show(groups, hours);
  if (dryRun !== undefined)
    write(groups, dryRun === true ? path.join(stateDir(), executor) : path.resolve(dryRun));
}

interface NodeHours {
  /** What the jobs may take by their time limits. */
  readonly limit: number;
  /** What stages like these took; null if some have never run. */
  readonly expected: number | null;
}

function nodeHours(groups: readonly ForeseenGroup[]): NodeHours {
  const expected = groups.map((group) => group.expected).filter((one) => one !== null);
  return {
    limit: groups.reduce((sum, { jobs, seconds }) => sum + jobs * seconds, 0) / 3600,
    expected:
      expected.length < groups.length ? null : expected.reduce((sum, one) => sum + one, 0) / 3600,
  };
}

function show(groups: readonly ForeseenGroup[], { limit, expected }: NodeHours): void {
  if (groups.length === 0) {
    out('no job would be submitted');
    return;
  }
  out(
    table([
      ['stage', 'jobs', 'stages', 'time limit', 'memory', 'cores', 'GPUs', 'node-hours at most'],
      ...groups.map(({ kind, jobs, stages, seconds, memoryMB, cpus, gpus }) => [
        kind,
        String(jobs),
        String(stages),
        duration(seconds),
        `${memoryMB} MB`,
        String(cpus),
        String(gpus),
        ((jobs * seconds) / 3600).toFixed(1),
      ]),
    ]),
  );
  const jobs = groups.reduce((sum, group) => sum + group.jobs, 0);
  const likely =
    expected === null ? 'no estimate yet of what they take' : `about ${expected.toFixed(1)} likely`;
  out(`${count(jobs, 'job')}, at most ${limit.toFixed(1)} node-hours (${likely})`);
  if (expected === null)
    out('until stages like them have run, `time` in slurm.yaml sets their time limit');
}

/** Writes the batch script of each group, and beside it the command that would submit it. */
function write(groups: readonly ForeseenGroup[], dir: string): void {
  makeFolder(dir);
  groups.forEach(({ kind, script, command }, i) => {
    const file = path.join(dir, `${i + 1}-${kind}`);
    writeFileSync(`${file}.sh`, script);
    writeFileSync(`${file}.json`, `${JSON.stringify(command, null, 2)}\n`);
  });
  say(`batch scripts: ${path.relative('', dir) || '.'}`);
}
