/**
 * Attempts stages that share a job. Each member takes its own lease and looks for its own entry;
 * those that must be attempted are attempted in one job. A member that fails is retried alone.
 */
import type { Executor } from '../../api.ts';
import type { PlannedStage } from '../../plan/types.ts';
import type { AttemptRequest, AttemptResult, WithLease } from './attempt.ts';
import { attemptPack, attemptWithRetries, mayRetry, retry } from './attempt.ts';
import type { Execution, KeyedStage } from './execution.ts';

export const attemptAlone = (
  execution: Execution,
  withLease: WithLease,
  keyed: KeyedStage,
  gpus: readonly string[],
): Promise<AttemptResult> =>
  withLease(keyed, gpus, (request) => attemptWithRetries(execution, request));

/** Returns a function that attempts the members of a pack, with a result for each of them. */
export function createPackAttempts(
  execution: Execution,
  withLease: WithLease,
  runPack: NonNullable<Executor['runPack']>,
): (members: readonly KeyedStage[], gpus: readonly string[]) => readonly Promise<AttemptResult>[] {
  return (members, gpus) => {
    const [only] = members;
    if (only !== undefined && members.length === 1)
      return [attemptAlone(execution, withLease, only, gpus)];
    const arrivals = members.map((keyed) => ({ keyed, ...deferred<AttemptRequest | null>() }));
    const attempts = Promise.all(arrivals.map(({ promise }) => promise)).then((requests) =>
      attemptTogether(
        execution,
        requests.filter((request) => request !== null),
        runPack,
      ),
    );
    return arrivals.map(async ({ keyed, resolve }) => {
      try {
        return await withLease(keyed, gpus, async (request) => {
          resolve(request);
          const attempt = (await attempts).get(keyed.stage);
          if (attempt === undefined) throw new Error(`${keyed.stage.id} is missing from its pack`);
          return attempt;
        });
      } finally {
        resolve(null); // it need not or can't be attempted
      }
    });
  };
}

type Attempts = ReadonlyMap<PlannedStage, Promise<AttemptResult>>;

function attemptTogether(
  execution: Execution,
  requests: readonly AttemptRequest[],
  runPack: NonNullable<Executor['runPack']>,
): Attempts {
  if (requests.length < 2)
    return new Map(
      requests.map((request) => [request.stage, attemptWithRetries(execution, request)]),
    );
  const packed = attemptPack(execution, requests, runPack);
  // Once the pack has ended, the further attempts use its place in the queue one after another.
  let place: Promise<unknown> = Promise.allSettled(packed);
  const alone = async (
    request: AttemptRequest,
    result: Promise<AttemptResult>,
  ): Promise<AttemptResult> => {
    const first = await result;
    if (!mayRetry(execution, request, first)) return first;
    const further = place.then(() => retry(execution, request, first));
    place = further.catch(() => undefined);
    return further;
  };
  return new Map(
    requests.flatMap((request, i) => {
      const result = packed[i];
      return result === undefined ? [] : [[request.stage, alone(request, result)] as const];
    }),
  );
}

function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
