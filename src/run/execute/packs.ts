/**
 * Packs: stages that share a job of a scheduler, which performs them one after another, or a
 * process of this machine, which performs them at once. When this run's queue has room for one
 * stage, that stage forms a pack with others that are ready, which are divided evenly among the
 * packs that may run. Nothing waits for a stage that is not ready. Each member takes its own lease
 * and looks its own entry up. Members without an entry are attempted in one job. A member that
 * fails is retried alone.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Executor } from '../../api.ts';
import type { PlannedStage } from '../../plan/types.ts';
import {
  attemptAlone,
  attemptPack,
  type AttemptRequest,
  type AttemptResult,
  attemptWithRetries,
  mayRetry,
  type WithLease,
} from './attempt.ts';
import type { Execution, KeyedStage } from './execution.ts';
import { byTurn, type StageQueue, type Turn } from './queue.ts';

/** Returns a name that is equal for stages that may share a job; null for one that runs alone. */
export const packId = ({ descriptor, kind, resources }: PlannedStage): string | null =>
  descriptor.pack === undefined ? null : JSON.stringify([kind, resources]);

/** Returns a name that is equal for stages that compute together; null for one that runs alone. */
export function togetherId(stage: PlannedStage): string | null {
  const name = stage.descriptor.pack?.together?.(stage) ?? null;
  return name === null ? null : JSON.stringify([stage.kind, stage.resources, name]);
}

/**
 * Returns the size of the next pack, such that packs are few and of nearly equal size.
 * @param ready how many stages are ready
 * @param most the most stages in a pack
 */
export const packSize = (ready: number, most: number): number =>
  Math.ceil(ready / Math.ceil(ready / most));

/**
 * Returns the jobs, each a list of stages, that there would be if all stages were ready. Jobs are
 * in the order of their first stages.
 */
export function foreseeJobs(stages: readonly PlannedStage[], most: number): PlannedStage[][] {
  const groups = new Map<string, PlannedStage[]>();
  for (const stage of stages) {
    const id = packId(stage) ?? stage.id;
    groups.set(id, [...(groups.get(id) ?? []), stage]);
  }
  const jobs: PlannedStage[][] = [];
  for (const group of groups.values())
    while (group.length > 0) jobs.push(group.splice(0, packSize(group.length, most)));
  const order = new Map(stages.map((stage, i) => [stage, i]));
  const place = ([first]: readonly PlannedStage[]): number => (first && order.get(first)) ?? 0;
  return jobs.sort((a, b) => place(a) - place(b));
}

interface Waiting {
  readonly keyed: KeyedStage;
  readonly turn: Turn;
  readonly settle: (result: Promise<AttemptResult>) => void;
}

interface PackerOptions {
  readonly gatherMs: number;
  readonly most: number;
  readonly places?: (stage: PlannedStage) => number;
}

type AttemptInPack = (keyed: KeyedStage, id: string, turn: Turn) => Promise<AttemptResult>;

/**
 * Returns a function that attempts a stage in a pack with others that are ready and have the same
 * `id`.
 * @param gatherMs how long stages wait for each other
 * @param most the most stages in a pack
 * @param places how many packs may run at once, among which the ready stages are divided; default 1
 */
export function createPacker(
  execution: Execution,
  withLease: WithLease,
  queue: StageQueue,
  { gatherMs, most, places }: PackerOptions,
  runPack: NonNullable<Executor['runPack']>,
): AttemptInPack {
  const groups = new Map<string, readonly Waiting[]>();
  let running = 0;
  const waitingIn = (id: string): readonly Waiting[] => groups.get(id) ?? [];

  /** Attempts a pack of `first` and others of its group, unless another pack has taken `first`. */
  const attemptPackWith = async (first: Waiting, id: string, gpus: readonly string[]) => {
    if (!waitingIn(id).includes(first)) return; // it is in another pack already
    // Waits for the other stages that the same event has made ready.
    await sleep(gatherMs);
    if (!waitingIn(id).includes(first)) return;
    const others = waitingIn(id).filter((one) => one !== first);
    const inOrder = [first, ...others.sort((a, b) => byTurn(a.turn, b.turn))];
    // The ready stages are divided evenly among the packs that may still start.
    const free = Math.max(1, (places?.(first.keyed.stage) ?? 1) - running);
    const size = packSize(inOrder.length, Math.min(most, Math.ceil(inOrder.length / free)));
    const pack = inOrder.slice(0, size);
    groups.set(id, inOrder.slice(size));
    const members = pack.map(({ keyed }) => keyed);
    const results = attemptMembers(execution, withLease, members, gpus, runPack);
    pack.forEach(({ settle }, i) => {
      settle(results[i] ?? Promise.reject(new Error('a member of a pack has no result')));
    });
    running++;
    await Promise.allSettled(results);
    running--;
  };

  return (keyed, id, turn) =>
    new Promise((resolve, reject) => {
      const waiting: Waiting = { keyed, turn, settle: resolve };
      groups.set(id, [...waitingIn(id), waiting]);
      queue.add((gpus) => attemptPackWith(waiting, id, gpus), turn).catch(reject);
    });
}

/**
 * Attempts members as one job, each under its lease. A member that needs no attempt, because its
 * entry is there by now or another run has its lease, is left out of the job. Returns the results
 * of all members, in order.
 */
function attemptMembers(
  execution: Execution,
  withLease: WithLease,
  members: readonly KeyedStage[],
  gpus: readonly string[],
  runPack: NonNullable<Executor['runPack']>,
): readonly Promise<AttemptResult>[] {
  const [only] = members;
  if (only !== undefined && members.length === 1)
    return [attemptAlone(execution, withLease, only, gpus)];
  /** Each resolves to a member's request, or to null if the member needs no attempt. */
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
      resolve(null); // without effect if the stage was attempted
    }
  });
}

type Attempts = ReadonlyMap<PlannedStage, Promise<AttemptResult>>;

/**
 * Attempts stages as one job; a single stage is attempted by itself. A member that fails is retried
 * alone. Returns the results by stage.
 */
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
  // After the pack's end, retries run one after another, in the pack's place in the queue.
  let place: Promise<unknown> = Promise.allSettled(packed);
  /**
   * Waits for a member's result. If the member failed and may be retried, returns what the retries
   * came to.
   */
  const withRetries = async (
    request: AttemptRequest,
    result: Promise<AttemptResult>,
  ): Promise<AttemptResult> => {
    const first = await result;
    if (!mayRetry(execution, request, first)) return first;
    const further = place.then(() => attemptWithRetries(execution, request, first));
    place = further.catch(() => undefined);
    return further;
  };
  return new Map(
    requests.flatMap((request, i) => {
      const result = packed[i];
      return result === undefined ? [] : [[request.stage, withRetries(request, result)] as const];
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
