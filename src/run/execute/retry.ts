/** Retries: further attempts at a stage that has failed, under the same lease. */
import { isDiskFault } from '../../store/faults.ts';
import type { AttemptRequest, AttemptResult } from './attempt.ts';
import { attemptStage } from './attempt.ts';
import type { Execution } from './execution.ts';
import { tellNote } from './execution.ts';
import { forKind } from './patience.ts';
import type { Failed } from './types.ts';

/** Attempts the stage alone, and again after each failure, as often as the run allows. */
export async function attemptWithRetries(
  execution: Execution,
  request: AttemptRequest,
): Promise<AttemptResult> {
  return retry(execution, request, await attemptStage(execution, request));
}

/** @param first the result of the first attempt, alone or in a pack */
export async function retry(
  execution: Execution,
  request: AttemptRequest,
  first: AttemptResult,
): Promise<AttemptResult> {
  const allowed = 1 + retriesOf(execution, request);
  let result = first;
  for (let next = 2; next <= allowed && mayRetry(execution, request, result); next++) {
    const { id } = request.stage;
    tellNote(execution, `${id} failed (${result.error}); try ${next} of ${allowed}`);
    result = await attemptStage(execution, request);
  }
  return result;
}

/**
 * Whether a further attempt is allowed and could help. After a full disk none could, since it stays
 * full.
 */
export const mayRetry = (
  execution: Execution,
  request: AttemptRequest,
  result: AttemptResult,
): result is Failed =>
  result.state === 'failed' &&
  retriesOf(execution, request) > 0 &&
  !isDiskFault(result) &&
  !execution.options.signal.aborted;

const retriesOf = ({ options }: Execution, { stage }: AttemptRequest): number =>
  forKind(options.patience?.retries, stage.kind) ?? 0;
