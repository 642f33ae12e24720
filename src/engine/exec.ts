/** One stage by hand, in a folder of its own: to debug a plugin, or to see whether a result comes out again. The store is only read. */
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Digest, Job, JobHooks, JobResult, OutputFile, StageInput } from '../api.ts';
import { UserFault } from '../api.ts';
import type { StageStatus } from '../execute/survey.ts';
import type { Finished, Outcome } from '../execute/types.ts';
import { redactor } from '../log/redact.ts';
import { stageLabels } from '../plan/label.ts';
import type { StageId } from '../plan/types.ts';
import { makeFolder } from '../store/folders.ts';
import { stateDir } from './places.ts';
import type { Prepared } from './prepare.ts';

export interface ExecOptions {
  /** Where its files go, a folder that is empty or not there; `.dosimeter/exec/STAGE`, emptied first, by default. */
  readonly out?: string;
  readonly jobs: number;
  readonly hooks: JobHooks;
  readonly signal: AbortSignal;
}

export interface Executed {
  readonly stage: string;
  /** The absolute folder of its files; after a failure, of what it had written. */
  readonly outputs: string;
  readonly result: JobResult;
  /** The store's entry of the same stage, if there is one, and the files that differ from it (those that vary from run to run aside). */
  readonly stored: { readonly dir: string; readonly differs: readonly string[] } | null;
}

/** @param wanted a stage's id or the beginning of one, or a kind that the plan has once. @throws UserFault where it can't run now */
export async function execStage(
  prepared: Prepared,
  wanted: string,
  { out, jobs, hooks, signal }: ExecOptions,
): Promise<Executed> {
  const { plan, registry, assets, backend, experiment } = prepared;
  const status = chooseStage(prepared, wanted);
  const { stage } = status;
  const [
    { jobOf, redacted },
    { createPool },
    { workerModule },
    { experimentFacts },
    { environment },
  ] = await Promise.all([
    import('../execute/job.ts'),
    import('../execute/pool.ts'),
    import('../registry/registry.ts'),
    import('../execute/facts.ts'),
    import('../execute/environment.ts'),
  ]);
  const missing = Object.values(stage.assets).find((uri) => !assets.get(uri));
  if (missing !== undefined)
    throw new UserFault(`${missing} is not fetched yet`, 'dosimeter run fetches what a spec names');
  const inputs = await inputsOf(status, prepared);
  const experimentOf = async () =>
    experimentFacts(
      plan,
      new Map(
        prepared.statuses.flatMap((one): [StageId, Outcome][] =>
          one.entry ? [[one.stage.id, finished(one)]] : [],
        ),
      ),
      await environment(experiment.file, backend, jobs),
    );
  const outDir = emptyFolder(out, stage.id);
  const job = jobOf(
    stage,
    {
      inputs,
      ...(stage.descriptor.scope === 'experiment' ? { experiment: await experimentOf() } : {}),
    },
    { registry, assets, jobs, backend, outDir },
  );
  const pool = createPool({ module: workerModule(), limit: 1 });
  try {
    const redact = redactor(experiment.secrets, process.env);
    const result = redacted(
      await pool.run(
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
      outputs: outDir,
      result,
      stored: result.type === 'done' && status.entry ? comparison(status, result.files) : null,
    };
  } finally {
    await pool.close();
  }
}

/** What an executor's job is elsewhere: the job in a file, how it ended in another, there whole or not at all. */
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
    throw new UserFault(`${jobFile} holds no job: ${(error as Error).message}`);
  }
  const [{ createPool }, { workerModule }] = await Promise.all([
    import('../execute/pool.ts'),
    import('../registry/registry.ts'),
  ]);
  const pool = createPool({ module: workerModule(), limit: 1 });
  try {
    const result = await pool.run(job, hooks, signal);
    writeFileSync(`${resultFile}.${process.pid}`, JSON.stringify(result));
    renameSync(`${resultFile}.${process.pid}`, resultFile);
    return result;
  } finally {
    await pool.close();
  }
}

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
    `"${wanted}" is ${found.length} stages of this plan`,
    `which one? ${shown}${found.length > 8 ? ', …' : ''}`,
  );
}

async function inputsOf(
  { stage }: StageStatus,
  { statuses, store }: Prepared,
): Promise<{ [name: string]: StageInput }> {
  const inputs: { [name: string]: StageInput } = {};
  for (const [name, id] of Object.entries(stage.inputs)) {
    const { entry } = statuses.find((status) => status.stage.id === id)!;
    if (!entry && stage.descriptor.tolerant) continue;
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
    inputs[name] = { dir: entry.dir, digest: entry.manifest.content };
  }
  return inputs;
}

function finished({ entry }: StageStatus): Finished {
  const { key, dir, manifest } = entry!;
  return {
    state: 'cached',
    key,
    dir,
    content: manifest.content,
    seconds: manifest.seconds,
    backend: manifest.backend,
  };
}

function emptyFolder(out: string | undefined, id: string): string {
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

function comparison(
  { stage, entry }: StageStatus,
  files: readonly OutputFile[],
): NonNullable<Executed['stored']> {
  const volatile = new Set(stage.descriptor.volatile ?? []);
  const before = new Map(entry!.manifest.files.map(({ path: name, sha256 }) => [name, sha256]));
  const now = new Map(files.map(({ path: name, sha256 }) => [name, sha256]));
  const differs = [...new Set([...before.keys(), ...now.keys()])]
    .filter((name) => !volatile.has(name) && before.get(name) !== now.get(name))
    .sort();
  return { dir: path.resolve(entry!.dir), differs };
}
