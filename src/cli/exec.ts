/** `dosimeter exec SPEC STAGE` runs one stage by hand; an executor starts `exec --job FILE`. */
import { INTERRUPTED_TASK, type JobHooks, type JobResult, UserFault } from '../api.ts';
import { defined } from '../base/defined.ts';
import { execJob, execStage, type Executed } from '../run/exec.ts';
import { prepare } from '../run/prepare.ts';
import type { SpecOptions } from './options.ts';
import { DONE, FAILED, INTERRUPTED, json, onInterrupt, out, paintErr, say } from './terminal.ts';

interface ExecCommandOptions extends SpecOptions {
  readonly out?: string;
  readonly job?: string;
  readonly result?: string;
  readonly task?: string;
}

/** Sends what the stage prints and logs to stderr, because stdout is for the answer. */
const TO_STDERR: JobHooks = {
  onLog: say,
  onOutput: (text) => void process.stderr.write(text),
  onProgress: () => undefined,
};

/**
 * Runs a stage by hand or, for an executor, a job or a task from its file. Returns the exit code.
 */
export async function execCommand(
  spec: string | undefined,
  stage: string | undefined,
  options: ExecCommandOptions,
): Promise<number> {
  const stop = new AbortController();
  const release = onInterrupt(() => stop.abort());
  try {
    if (options.task !== undefined) return await taskCommand(options.task, stop.signal);
    const { job, result: resultFile } = options;
    if (job !== undefined || resultFile !== undefined) {
      if (job === undefined || resultFile === undefined || spec !== undefined)
        throw new UserFault('--job and --result must be given together, and without a spec');
      return exitCode(await execJob(job, resultFile, TO_STDERR, stop.signal), stop.signal);
    }
    if (spec === undefined || stage === undefined)
      throw new UserFault(
        'exec takes a spec and a stage',
        'dosimeter exec SPEC STAGE; `dosimeter plan SPEC --json` lists the stages',
      );
    const prepared = await prepare(spec, options, { fetch: true, note: say });
    try {
      const executed = await execStage(prepared, stage, {
        jobs: options.jobs,
        hooks: TO_STDERR,
        signal: stop.signal,
        ...defined({ out: options.out }),
      });
      if (options.json) showJson(executed);
      else show(executed);
      return exitCode(executed.result, stop.signal);
    } finally {
      prepared.store.close();
    }
  } finally {
    release();
  }
}

/** Returns DONE if the task is done, INTERRUPTED_TASK if its state was saved, else INTERRUPTED. */
async function taskCommand(file: string, signal: AbortSignal): Promise<number> {
  const { execTask } = await import('../run/exec-task.ts');
  const print = (text: string): void => void process.stderr.write(text);
  const ended = await execTask(file, { print, signal });
  return ended === 'done' ? DONE : ended === 'saved' ? INTERRUPTED_TASK : INTERRUPTED;
}

function exitCode(result: JobResult, { aborted }: AbortSignal): number {
  return aborted ? INTERRUPTED : result.type === 'done' ? DONE : FAILED;
}

function showJson({ stage, outputs, result, stored }: Executed): void {
  const { type, ...facts } = result;
  json({
    stage,
    outputs,
    state: type,
    ...facts,
    stored: stored && {
      outputs: stored.dir,
      same: stored.differs.length === 0,
      differs: stored.differs,
    },
  });
}

function show({ stage, outputs, result, stored }: Executed): void {
  say(
    result.type === 'done'
      ? `${stage} done in ${result.seconds.toFixed(2)} s`
      : `${paintErr.red(`${stage} failed:`)} ${failureText(result)}`,
  );
  if (stored)
    say(
      stored.differs.length === 0
        ? `the same files as in the store (${stored.dir})`
        : paintErr.yellow(`different from the store (${stored.dir}): ${stored.differs.join(', ')}`),
    );
  out(outputs);
}

function failureText(result: Exclude<JobResult, { readonly type: 'done' }>): string {
  switch (result.type) {
    case 'fault':
      return result.hint === undefined ? result.message : `${result.message}\n  ${result.hint}`;
    case 'error':
      // With the stack: exec is for debugging a plugin.
      return result.stack === '' ? result.message : result.stack;
    case 'exit': {
      const how =
        result.signal === null ? `exit code ${String(result.code)}` : `ended by ${result.signal}`;
      return `its process ended without reporting a result (${how})`;
    }
  }
}
