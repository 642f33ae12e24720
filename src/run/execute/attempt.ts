/** One attempt at a stage, or at a pack of stages: from inputs to a stored entry or a failure. */
import path from 'node:path';
import type { Executor } from '../../api.ts';
import { LEAVE } from '../../api.ts';
import type { StageId } from '../../plan/types.ts';
import type { Lease } from '../../store/lease.ts';
import type { Answered } from './conclude.ts';
import { conclude } from './conclude.ts';
import type { Execution } from './execution.ts';
import type { Reads } from './guard.ts';
import { inTurn, performInline } from './inline.ts';
import type { Unready } from './inputs.ts';
import type { JobInputs } from './job.ts';
import { checkResult, jobOf, redacted } from './job.ts';
import type { KeyedStage } from './keyed-stage.ts';
import { forKind } from './patience.ts';
import type { JobResult, PackedJob } from './protocol.ts';
import type { Outcome } from './types.ts';

/** A stage under its lease, ready to be attempted. */
export interface AttemptRequest extends KeyedStage, JobInputs {
  readonly reads: Reads;
  readonly lease: Pick<Lease, 'stands' | 'lost'>;
}

/**
 * The result of an attempt. `busy` means that another run holds the lease, or has taken it over;
 * `unready` that the stage has read inputs that were damaged.
 */
export type AttemptResult = Outcome | Unready | { readonly state: 'busy' };

/**
 * The result of a pack's member. `lost` means that the pack's process ended, and it is not known
 * which of its stages is to blame.
 */
export type PackedResult = AttemptResult | { readonly state: 'lost' };

export async function attemptStage(
  execution: Execution,
  request: AttemptRequest,
): Promise<AttemptResult> {
  const { descriptor } = request.stage;
  const { registry, executor } = execution.options;
  const attempt = async (): Promise<AttemptResult> => {
    const { work, end } = start(execution, request);
    return end(
      descriptor.inline === true
        ? performInline(work, descriptor, registry)
        : executor.run(work.job, work.hooks, work.signal),
    );
  };
  return descriptor.inline === true ? inTurn(attempt) : attempt();
}

/** Attempts several stages as one job. Returns the result of each, in the order of the requests. */
export function attemptPack(
  execution: Execution,
  requests: readonly AttemptRequest[],
  runPack: NonNullable<Executor['runPack']>,
): readonly Promise<PackedResult>[] {
  const pack = requests.map(({ stage }) => stage.id);
  const started = requests.map((request) => start(execution, request, pack));
  const answers = runPack(started.map(({ work }) => work));
  return started.map(async ({ work, end }, i): Promise<PackedResult> => {
    const answer = answers[i] ?? Promise.reject(new TypeError('the executor left out an answer'));
    const result = await end(answer);
    return (await answer).type === 'exit' && !work.signal.aborted ? { state: 'lost' } : result;
  });
}

interface Started {
  /** The work that is given to the executor. */
  readonly work: PackedJob;
  /** Waits for the executor's answer and turns it into the attempt's result. */
  readonly end: (answer: Promise<JobResult>) => Promise<AttemptResult>;
}

/** @param pack the ids of all stages of the pack; without it, the stage is attempted alone */
function start(execution: Execution, request: AttemptRequest, pack?: readonly StageId[]): Started {
  const { stage, key, reads } = request;
  const { plan, options } = execution;
  const { store, registry, assets, jobs, onEvent } = options;
  const resumeDir = store.resumeDir(key, reads.digest);
  const outDir = store.scratch(stage.id);
  const log = options.log.stage(stage.id);
  onEvent({ type: 'stage-started', stage, log: log.file, ...(pack ? { pack } : {}) });
  const others = pack === undefined ? '' : `, packed with ${pack.length - 1} more`;
  log.aside(`${stage.id} key ${key}${others}`);
  const seconds = forKind(options.patience?.timeout, stage.kind);
  const limit = limited(options.signal, request.lease.lost, seconds);
  return {
    work: {
      job: jobOf(stage, request, {
        registry,
        assets,
        jobs,
        backend: plan.backend,
        outDir,
        resumeDir,
        key: path.basename(resumeDir),
      }),
      hooks: {
        onOutput: (text) => log.output(text),
        onLog: (message) => log.said(message),
        onProgress: (done, total, unit) =>
          onEvent({ type: 'stage-progress', stage, done, total, unit }),
        onPlace: (place) => onEvent({ type: 'stage-place', stage, place }),
      },
      signal: limit.signal,
    },
    async end(answer) {
      try {
        const result = await answer;
        checkResult(result);
        const answered: Answered = {
          request,
          result: redacted(result, options.redact),
          outDir,
          resumeDir,
          log,
          packed: pack?.length ?? 1,
          // The signal is aborted by the time limit, with the run, or when the lease is lost.
          // `conclude` looks at the others first, so this need not tell them apart.
          overtime: limit.signal.aborted && seconds !== null ? seconds : null,
        };
        return await conclude(execution, answered);
      } finally {
        limit.clear();
        await log.close();
      }
    },
  };
}

/**
 * Returns a signal that is aborted with the run's, when the lease is lost, or after `seconds` (null
 * for no limit). A job whose lease is lost is left to the run that has taken it over.
 */
function limited(
  run: AbortSignal,
  lost: AbortSignal,
  seconds: number | null,
): { readonly signal: AbortSignal; clear(): void } {
  const stop = new AbortController();
  const onRun = (): void => stop.abort(run.reason);
  const onLost = (): void => stop.abort(LEAVE);
  run.addEventListener('abort', onRun, { once: true });
  lost.addEventListener('abort', onLost, { once: true });
  if (run.aborted) onRun();
  if (lost.aborted) onLost();
  const timer = seconds === null ? undefined : setTimeout(() => stop.abort(), seconds * 1000);
  return {
    signal: stop.signal,
    clear() {
      clearTimeout(timer);
      run.removeEventListener('abort', onRun);
      lost.removeEventListener('abort', onLost);
    },
  };
}
