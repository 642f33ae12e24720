/** `dosimeter exec SPEC STAGE`: one stage by hand; `dosimeter exec --job FILE --result FILE`: what an executor starts elsewhere. */
import type { JobHooks, JobResult } from '../api.ts';
import { UserFault } from '../api.ts';
import { execJob, execStage } from '../engine/exec.ts';
import { prepare } from '../engine/prepare.ts';
import { DONE, FAILED, INTERRUPTED } from './execute.ts';
import type { SpecOptions } from './options.ts';
import { json, out, paintErr, say } from './terminal.ts';

export interface ExecCommandOptions extends SpecOptions {
  readonly out?: string;
  readonly job?: string;
  readonly result?: string;
}

export async function execCommand(
  spec: string | undefined,
  stage: string | undefined,
  options: ExecCommandOptions,
): Promise<number> {
  const stop = new AbortController();
  const interrupt = (): void => stop.abort();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, interrupt);
  // All that the stage says goes to stderr: stdout is for the answer.
  const hooks: JobHooks = {
    onLog: say,
    onOutput: (text) => void process.stderr.write(text),
    onProgress: () => undefined,
  };
  try {
    if (options.job !== undefined || options.result !== undefined) {
      if (options.job === undefined || options.result === undefined || spec !== undefined)
        throw new UserFault('--job and --result stand together, without a spec');
      return codeOf(await execJob(options.job, options.result, hooks, stop.signal), stop.signal);
    }
    if (spec === undefined || stage === undefined)
      throw new UserFault(
        'exec takes a spec and a stage',
        'dosimeter exec SPEC STAGE; `dosimeter plan SPEC --json` lists the stages',
      );
    const prepared = await prepare(spec, options, { fetch: true, note: say });
    try {
      const {
        stage: id,
        outputs,
        result,
        stored,
      } = await execStage(prepared, stage, {
        jobs: options.jobs,
        hooks,
        signal: stop.signal,
        ...(options.out === undefined ? {} : { out: options.out }),
      });
      if (options.json) {
        const { type, ...facts } = result;
        json({
          stage: id,
          outputs,
          state: type,
          ...facts,
          stored: stored && {
            outputs: stored.dir,
            same: stored.differs.length === 0,
            differs: stored.differs,
          },
        });
      } else {
        tell(id, result);
        if (stored)
          say(
            stored.differs.length === 0
              ? `the same files as in the store (${stored.dir})`
              : paintErr.yellow(
                  `not what is in the store (${stored.dir}): ${stored.differs.join(', ')}`,
                ),
          );
        out(outputs);
      }
      return codeOf(result, stop.signal);
    } finally {
      prepared.store.close();
    }
  } finally {
    for (const signal of signals) process.off(signal, interrupt);
  }
}

function codeOf(result: JobResult, { aborted }: AbortSignal): number {
  return aborted ? INTERRUPTED : result.type === 'done' ? DONE : FAILED;
}

function tell(id: string, result: JobResult): void {
  switch (result.type) {
    case 'done':
      say(`${id} done in ${result.seconds.toFixed(2)} s`);
      return;
    case 'fault':
      say(
        `${paintErr.red(`${id} failed:`)} ${result.message}${result.hint === undefined ? '' : `\n  ${result.hint}`}`,
      );
      return;
    // Here the stack is what was asked for: exec is for debugging a plugin.
    case 'error':
      say(
        `${paintErr.red(`${id} failed:`)} ${result.stack === '' ? result.message : result.stack}`,
      );
      return;
    case 'exit':
      say(
        `${paintErr.red(`${id} failed:`)} its process went without a word (${result.signal === null ? `exit code ${String(result.code)}` : `ended by ${result.signal}`})`,
      );
  }
}
