/**
 * Attempts at a stage, or at a pack of stages: from inputs to a stored entry or a failure. The
 * lease of a stage is held meanwhile, so that no two runs make the same entry at once.
 */
import path from 'node:path';
import { type Executor, type JobResult, LEAVE, type PackedJob } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import type { ActionKey, StageId } from '../../plan/types.ts';
import { isDiskFault } from '../../store/faults.ts';
import type { Lease } from '../../store/lease.ts';
import { isOnThisHost } from '../../store/owner.ts';
import type { Failed, Outcome } from '../log/events.ts';
import { valueForKind } from './attempt-limits.ts';
import { type Answered, conclude } from './conclude.ts';
import {
  type Execution,
  experimentFacts,
  isSufficient,
  type KeyedStage,
  stopAfterFailure,
  tellDamage,
  tellNote,
  thrownOutcome,
  useCached,
} from './execution.ts';
import type { Reads } from './guard.ts';
import type { InputChecks, Unready } from './inputs.ts';
import { buildJob, checkResult, type JobInputs, redacted } from './job.ts';
import { type DemandFacts, estimateDemand, isScheduled } from './resources.ts';

/** A stage to be attempted, whose lease is held. */
export interface AttemptRequest extends KeyedStage, JobInputs {
  readonly reads: Reads;
  readonly lease: Pick<Lease, 'stands' | 'lost'>;
}

/**
 * `busy`: another run holds the lease, or has taken it over. `unready`: inputs are damaged or lack
 * files.
 */
export type AttemptResult = Outcome | Unready | { readonly state: 'busy' };

/**
 * Takes the lease, looks for the entry again, checks what the stage will read, and calls `attempt`.
 * Never throws: anything thrown on the way becomes the stage's failure.
 * @param gpus the GPUs that the queue has granted
 */
export type WithLease = (
  keyed: KeyedStage,
  gpus: readonly string[],
  attempt: (request: AttemptRequest) => Promise<AttemptResult>,
) => Promise<AttemptResult>;

/**
 * Returns the field `gpus` of a stage's request: the GPUs that the queue granted the stage, or []
 * if it was granted none but would compute on GPUs. Returns {}, which leaves the environment as it
 * is, for any other stage, and under a scheduler that grants GPUs itself.
 */
const visibleGpus = (
  { machine }: Execution,
  { stage: { descriptor } }: KeyedStage,
  gpus: readonly string[],
): Pick<AttemptRequest, 'gpus'> =>
  gpus.length > 0 || (descriptor.compute && machine.computesOnGpu && !isScheduled(machine))
    ? { gpus }
    : {};

export function createLeaser(execution: Execution, inputs: InputChecks): WithLease {
  const { plan, options, machine } = execution;
  const { store } = options;
  const facts: DemandFacts = {
    backend: plan.backend,
    assets: options.assets,
    computesOnGpu: machine.computesOnGpu === true,
    expect: options.expect ?? (() => null),
  };

  /**
   * Keys of entries that another host may have made meanwhile, because it held the lease or because
   * this run lost the lease.
   */
  const awaited = new Set<ActionKey>();

  /**
   * Returns the outcome if the entry is in the store by now; null if it is not there, lacks files
   * that the stage needs, or is damaged. Moves a damaged entry aside.
   * @param expected whether another host has probably made the entry, which then may show up late
   */
  const lookUpAgain = async (
    keyed: KeyedStage,
    expected: boolean,
  ): Promise<AttemptResult | null> => {
    const found = await store.lookUpShared(keyed.key, expected);
    if (found.state === 'hit')
      return isSufficient(found.entry, keyed.whole) ? useCached(execution, found.entry) : null;
    if (found.state === 'damaged')
      tellDamage(execution, keyed.stage, found.why, store.moveAside(keyed.key));
    return null;
  };

  /**
   * Does what is left of `WithLease` once the lease is held. A failure may stop the run
   * (`stopAfterFailure`).
   * @param expected as in `lookUpAgain`
   */
  const withHeldLease = async (
    keyed: KeyedStage,
    gpus: readonly string[],
    lease: Lease,
    expected: boolean,
    attempt: (request: AttemptRequest) => Promise<AttemptResult>,
  ): Promise<AttemptResult> => {
    const cached = await lookUpAgain(keyed, expected);
    if (cached) return cached;
    const reads = await inputs.checkReads(keyed.stage);
    if (!('fault' in reads)) {
      if (reads.state === 'failed') stopAfterFailure(execution, reads);
      return reads;
    }
    const result = await attempt({
      ...keyed,
      reads,
      ...(isScheduled(machine)
        ? { demand: await estimateDemand(keyed.stage, facts, keyed.inputs) }
        : {}),
      lease,
      ...visibleGpus(execution, keyed, gpus),
      warnings: options.warnings?.get(keyed.stage.id) ?? [],
      ...(keyed.stage.descriptor.scope === 'experiment'
        ? { experiment: experimentFacts(plan, execution.outcomes, options) }
        : {}),
    });
    if (result.state !== 'busy' && result.state !== 'unready') stopAfterFailure(execution, result);
    return result;
  };

  return async (keyed, gpus, attempt) => {
    if (execution.stopped || options.signal.aborted) return { state: 'abandoned' };
    try {
      const lease = store.take(keyed.key);
      if ('by' in lease) {
        if (!isOnThisHost(lease.by)) awaited.add(keyed.key);
        return { state: 'busy' };
      }
      try {
        const expected = awaited.delete(keyed.key) && !lease.takenOver;
        const result = await withHeldLease(keyed, gpus, lease.held, expected, attempt);
        if (result.state === 'busy') awaited.add(keyed.key); // the lease was lost
        return result;
      } finally {
        lease.held.release();
      }
    } catch (error) {
      if (isDiskFault(error)) execution.stopped = true;
      return thrownOutcome(execution, error);
    }
  };
}

export const attemptAlone = (
  execution: Execution,
  withLease: WithLease,
  keyed: KeyedStage,
  gpus: readonly string[],
): Promise<AttemptResult> =>
  withLease(keyed, gpus, (request) => attemptWithRetries(execution, request));

/**
 * Attempts a stage by itself, and again after each failure, as often as the run's limit allows.
 * @param first the result of a first attempt, if there was one
 */
export async function attemptWithRetries(
  execution: Execution,
  request: AttemptRequest,
  first?: AttemptResult,
): Promise<AttemptResult> {
  const allowed = 1 + allowedRetries(execution, request);
  let result = first ?? (await attemptStage(execution, request));
  for (let next = 2; next <= allowed && mayRetry(execution, request, result); next++) {
    const { id } = request.stage;
    tellNote(execution, `${id} failed (${result.error}); try ${next} of ${allowed}`);
    result = await attemptStage(execution, request);
  }
  return result;
}

/**
 * Whether a further attempt could help, and the stage has retries at all. The caller counts them.
 */
export const mayRetry = (
  execution: Execution,
  request: AttemptRequest,
  result: AttemptResult,
): result is Failed =>
  result.state === 'failed' &&
  allowedRetries(execution, request) > 0 &&
  !isDiskFault(result) &&
  !execution.options.signal.aborted;

/** Returns how many retries a stage has; none by default. */
const allowedRetries = ({ options }: Execution, { stage }: AttemptRequest): number =>
  valueForKind(options.attemptLimits?.retries, stage.kind) ?? 0;

async function attemptStage(execution: Execution, request: AttemptRequest): Promise<AttemptResult> {
  const { work, end } = startAttempt(execution, request);
  return end(execution.options.executor.run(work.job, work.hooks, work.signal));
}

/** Attempts stages as one job. Returns the result of each, in the order of the requests. */
export function attemptPack(
  execution: Execution,
  requests: readonly AttemptRequest[],
  runPack: NonNullable<Executor['runPack']>,
): readonly Promise<AttemptResult>[] {
  const pack = requests.map(({ stage }) => stage.id);
  const started = requests.map((request) => startAttempt(execution, request, pack));
  const answers = runPack(started.map(({ work }) => work));
  return started.map(({ end }, i) =>
    end(answers[i] ?? Promise.reject(new TypeError('the executor left out an answer'))),
  );
}

interface Started {
  /** What the executor gets. */
  readonly work: PackedJob;
  /** Turns the executor's answer into the attempt's result. */
  readonly end: (answer: Promise<JobResult>) => Promise<AttemptResult>;
}

/**
 * Announces an attempt, and prepares the stage's job, log and time limit.
 * @param pack all stages of its job; undefined if it is alone
 */
function startAttempt(
  execution: Execution,
  request: AttemptRequest,
  pack?: readonly StageId[],
): Started {
  const { stage, key, reads } = request;
  const { plan, options } = execution;
  const { store, registry, assets, jobs, onEvent } = options;
  const resumeDir = store.resumeDir(key, reads.digest);
  const outDir = store.scratch(stage.id);
  const log = options.log.stage(stage.id);
  onEvent({ type: 'stage-started', stage, log: log.file, ...defined({ pack }) });
  const others = pack === undefined ? '' : `, packed with ${pack.length - 1} more`;
  log.detail(`${stage.id} key ${key}${others}`);
  const seconds = valueForKind(options.attemptLimits?.timeout, stage.kind);
  const limit = limitedSignal(options.signal, request.lease.lost, seconds);
  return {
    work: {
      job: buildJob(stage, request, {
        plan,
        registry,
        assets,
        jobs,
        outDir,
        resumeDir,
        answersDir: store.answersDir,
        key: path.basename(resumeDir),
      }),
      hooks: {
        onOutput: (text) => log.output(text),
        onLog: (message) => log.stageLine(message),
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
          // `conclude` handles an aborted run and a lost lease before it reads `overtime`.
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
 * Returns a signal that is aborted with the run's, when the lease is lost, or after `seconds`
 * (null: no limit). A job whose lease is lost is left to the run that has taken it over. `clear`
 * ends the watch.
 */
function limitedSignal(
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
