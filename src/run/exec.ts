/**
 * `dosimeter exec`: runs one stage by hand in a separate folder, to debug a plugin or to see
 * whether a result can be reproduced. The store is only read.
 */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import {
  type ExperimentFacts,
  type Job,
  type JobHooks,
  type JobResult,
  type OutputFile,
  type StageInput,
  UserFault,
} from '../api.ts';
import { replaceFile } from '../base/replace-file.ts';
import { redactor } from '../base/secret.ts';
import { WARNINGS } from '../plan/keys.ts';
import { stageLabels } from '../plan/label.ts';
import type { StageId } from '../plan/types.ts';
import { makeFolder } from '../store/folders.ts';
import type { Entry } from '../store/manifest.ts';
import { hasLetGo, needsWhole } from './execute/keep.ts';
import type { StageStatus } from './execute/survey.ts';
import type { Outcome } from './log/events.ts';
import type { Prepared } from './prepare.ts';
import { stateDir } from './state-folder.ts';

export interface ExecOptions {
  /** An empty or new folder. Default: `.dosimeter/exec/STAGE`, emptied. */
  readonly out?: string;
  readonly jobs: number;
  readonly hooks: JobHooks;
  readonly signal: AbortSignal;
}

export type Executed = Awaited<ReturnType<typeof execStage>>;

/**
 * Runs one stage outside the store, and compares its files with the stored ones.
 * @param wanted a stage's id, the beginning of one, or a kind that the plan has only once
 * @throws UserFault if there is no such stage, or if it can't run now
 */
export async function execStage(
  prepared: Prepared,
  wanted: string,
  { out, jobs, hooks, signal }: ExecOptions,
) {
  const { registry, assets, experiment, plan } = prepared;
  const status = chooseStage(prepared, wanted);
  const { stage } = status;
  const { buildJob: jobOf, redacted } = await import('./execute/job.ts');
  const missing = Object.values(stage.assets).find((uri) => !assets.get(uri));
  if (missing !== undefined)
    throw new UserFault(`${missing} is not fetched yet`, 'dosimeter run fetches what a spec names');
  const inputs = await checkedInputs(status, prepared);
  const outDir = makeEmptyFolder(out, stage.id);
  const job = jobOf(
    stage,
    stage.descriptor.scope === 'experiment'
      ? { inputs, experiment: await factsForJoiningStage(prepared, jobs) }
      : { inputs },
    { plan, registry, assets, jobs, outDir, answersDir: prepared.store.answersDir },
  );
  const redact = redactor(experiment.secrets, process.env);
  const result = redacted(
    await performInWorker(
      job,
      {
        ...hooks,
        onLog: (message) => hooks.onLog(redact(message)),
        onOutput: (text) => hooks.onOutput(redact(text)),
      },
      signal,
    ),
    redact,
  );
  return {
    stage: stage.id,
    /** The absolute path of the stage's files, also of a failed stage's. */
    outputs: outDir,
    result,
    /**
     * The folder of the stage's entry, and the files that differ from it; null if the stage failed
     * or has no entry.
     */
    stored:
      result.type === 'done' && status.entry
        ? compareWithStored(status.entry, stage.descriptor.volatile ?? [], result.files)
        : null,
  };
}

/**
 * Performs the job in a file, for an executor that runs jobs elsewhere. Writes the result whole or
 * not at all.
 * @throws UserFault if `jobFile` can't be read as a job
 */
export async function execJob(
  jobFile: string,
  resultFile: string,
  hooks: JobHooks,
  signal: AbortSignal,
): Promise<JobResult> {
  let job: Job;
  try {
    job = JSON.parse(readFileSync(jobFile, 'utf8')) as Job;
  } catch (error) {
    throw new UserFault(`${jobFile} contains no job: ${(error as Error).message}`);
  }
  const result = await performInWorker(job, hooks, signal);
  replaceFile(resultFile, JSON.stringify(result));
  return result;
}

async function performInWorker(job: Job, hooks: JobHooks, signal: AbortSignal): Promise<JobResult> {
  const [{ createPool }, { workerModule }] = await Promise.all([
    import('./execute/pool.ts'),
    import('./registry/build.ts'),
  ]);
  const pool = createPool({ module: workerModule(), limit: 1 });
  try {
    return await pool.run(job, hooks, signal);
  } finally {
    await pool.close();
  }
}

/**
 * Returns the stage whose id begins with `wanted`, or whose kind is `wanted`.
 * @throws UserFault if no stage or several match
 */
function chooseStage({ plan, statuses }: Prepared, wanted: string): StageStatus {
  const found = statuses.filter(
    ({ stage }) => stage.kind === wanted || stage.id.startsWith(wanted),
  );
  const [only] = found;
  if (only && found.length === 1) return only;
  const label = stageLabels(plan);
  if (!only)
    throw new UserFault(
      `no stage of this plan is "${wanted}"`,
      'give an id, as `dosimeter plan --json` lists them',
    );
  const shown = found
    .slice(0, 8)
    .map(({ stage }) => `${stage.id} (${label(stage)})`)
    .join(', ');
  throw new UserFault(
    `"${wanted}" matches ${found.length} stages of this plan`,
    `which one? ${shown}${found.length > 8 ? ', …' : ''}`,
  );
}

/**
 * Returns what a stage that joins the grid, such as the report, is told. Only the stages that have
 * an entry in the store count.
 */
async function factsForJoiningStage(
  { plan, statuses, experiment, assets, backend }: Prepared,
  jobs: number,
): Promise<ExperimentFacts> {
  const [{ cachedOutcome, experimentFacts }, { describeEnvironment }] = await Promise.all([
    import('./execute/execution.ts'),
    import('./execute/environment.ts'),
  ]);
  const outcomes = new Map(
    statuses.flatMap(({ stage, entry }): [StageId, Outcome][] =>
      entry ? [[stage.id, cachedOutcome(entry)]] : [],
    ),
  );
  return experimentFacts(plan, outcomes, {
    assets,
    environment: await describeEnvironment(experiment.file, backend, jobs),
  });
}

/**
 * Checks a stage's inputs and returns them. A tolerant stage may lack some.
 * @throws UserFault if an input is missing or damaged, or if the stage needs all files of an input
 *   and some were let go
 */
async function checkedInputs(
  { stage }: StageStatus,
  { statuses, store }: Prepared,
): Promise<{ [name: string]: StageInput }> {
  const inputs: { [name: string]: StageInput } = {};
  for (const [name, id] of Object.entries(stage.inputs)) {
    const input = statuses.find((status) => status.stage.id === id),
      entry = input?.entry;
    if (!entry && stage.descriptor.tolerant) continue; // it runs without this input
    if (!entry)
      throw new UserFault(
        `its input "${name}" (${id}) is not in the store`,
        'dosimeter run makes it',
      );
    const damage = await store.check(entry);
    if (damage !== null)
      throw new UserFault(
        `its input "${name}" (${id}) is damaged: ${damage}`,
        'dosimeter run makes it again',
      );
    if (needsWhole(stage) && hasLetGo(entry))
      throw new UserFault(
        `its input "${name}" (${id}) has files that were let go, as \`keep\` asks`,
        `dosimeter run computes them again, with --set keep.${input.stage.kind}=all`,
      );
    inputs[name] = { dir: entry.dir, digest: entry.manifest.content };
  }
  return inputs;
}

/**
 * Makes `out`, which must be empty, or the default folder, which is emptied. Returns its absolute
 * path.
 * @throws UserFault if `out` is not empty, or the folder can't be written
 */
function makeEmptyFolder(out: string | undefined, id: string): string {
  const dir = path.resolve(out ?? path.join(stateDir(), 'exec', id));
  try {
    if (out === undefined) rmSync(dir, { recursive: true, force: true });
    else if (existsSync(dir) && readdirSync(dir).length > 0)
      throw new UserFault(`${dir} is not empty; nothing was run`, 'name another folder');
    makeFolder(dir);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new UserFault(`${dir} can't be written: ${message}`);
  }
  return dir;
}

/**
 * Returns the entry's folder, and the files that only one side has or whose digests differ.
 * Warnings and volatile files are not compared.
 */
function compareWithStored(
  { dir, manifest }: Entry,
  volatile: readonly string[],
  files: readonly OutputFile[],
): { readonly dir: string; readonly differs: readonly string[] } {
  const before = new Map(manifest.files.map(({ path: name, sha256 }) => [name, sha256]));
  const now = new Map(files.map(({ path: name, sha256 }) => [name, sha256]));
  const differs = [...new Set([...before.keys(), ...now.keys()])]
    .filter(
      (name) => name !== WARNINGS && !volatile.includes(name) && before.get(name) !== now.get(name),
    )
    .sort();
  return { dir: path.resolve(dir), differs };
}
