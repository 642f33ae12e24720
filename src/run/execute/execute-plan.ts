/**
 * Executes a plan by settling each stage, which means to find its outcome. A stage is taken from
 * the store, blocked by an input that failed, or attempted once the queue has room for it. It is
 * attempted again whenever another run was making it or an input was damaged. Finished work is kept
 * whatever happens.
 */
import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { at } from '../../base/lookup.ts';
import { once } from '../../base/memoized.ts';
import type { ActionKey, Plan, PlannedStage, StageId } from '../../plan/types.ts';
import type { Outcome } from '../log/events.ts';
import { attemptAlone, type AttemptResult, createLeaser, type WithLease } from './attempt.ts';
import { tellWarnings } from './conclude.ts';
import {
  type ExecuteOptions,
  type Execution,
  fetchOutcome,
  isFinished,
  isSufficient,
  type KeyedStage,
  keyedStage,
  openExecution,
  settledOutcome,
  tellNote,
  useCached,
} from './execution.ts';
import { createInputChecks, createRepairs, type InputChecks } from './inputs.ts';
import { createPacker, packId, togetherId } from './packs.ts';
import { createQueue } from './queue.ts';
import { needOf, placesOn } from './resources.ts';
import type { StageStatus } from './survey.ts';

/**
 * Executes a plan. Returns the outcomes of all stages.
 * @param statuses the survey of this plan; the entries that it found are not looked up again
 */
export async function executePlan(
  plan: Plan,
  statuses: readonly StageStatus[],
  options: ExecuteOptions,
): Promise<ReadonlyMap<StageId, Outcome>> {
  // Every running stage listens to the signal. With many listeners, Node would warn of a leak.
  setMaxListeners(0, options.signal);
  const execution = openExecution(plan, options);
  const inputs = createInputChecks(execution);
  const lacking = statuses.filter(({ state }) => state !== 'cached').map(({ stage }) => stage);
  const settle = createSettler(execution, inputs, createLeaser(execution, inputs), lacking);
  const settled = new Map<StageId, Promise<Outcome>>();
  for (const { stage, entry, state } of statuses) {
    if (entry && state === 'cached') {
      execution.outcomes.set(stage.id, useCached(execution, entry));
      continue;
    }
    const upstream = Object.values(stage.inputs).flatMap((id) => settled.get(id) ?? []);
    settled.set(stage.id, settle(stage, upstream, entry !== null));
  }
  await Promise.all(settled.values());
  return execution.outcomes;
}

/** The mean time between two looks at a stage that another run is making. */
const POLL_MS = 250;

/**
 * How long a pack waits for more stages if there is no scheduler. Stages that one event makes ready
 * come at once.
 */
const TOGETHER_MS = 20;

/**
 * Settles a stage once those of its inputs that are not settled yet (`upstream`) have settled.
 * Announces the stage's end. If the stage must be `whole`, files of its entry that were let go are
 * computed again.
 */
type Settle = (
  stage: PlannedStage,
  upstream: readonly Promise<Outcome>[],
  whole: boolean,
) => Promise<Outcome>;

/**
 * Returns the function of a run that `Settle` describes.
 * @param lacking the stages that were not cached at the start, in the plan's order
 */
function createSettler(
  execution: Execution,
  inputs: InputChecks,
  withLease: WithLease,
  lacking: readonly PlannedStage[],
): Settle {
  const { options } = execution;
  const attempt = createQueuedAttempts(execution, withLease, lacking);
  const repair = createRepairs(execution, inputs, settleNow);
  /** Attempts under way. The second of two stages with the same key waits for the first. */
  const attempts = new Map<ActionKey, Promise<AttemptResult>>();

  /**
   * Settles a stage whose inputs are settled. Tries until there is an outcome.
   * @param whole whether files of its entry that were let go are computed again
   */
  async function settleNow(stage: PlannedStage, whole = false): Promise<Outcome> {
    let toldOfWait = false;
    /** Tells the warnings of a finished stage, and returns the outcome as it is. */
    const toldOutcome = (outcome: Outcome): Outcome => {
      if (isFinished(outcome)) tellWarnings(execution, stage, outcome);
      return outcome;
    };
    for (;;) {
      const blocked = blockedOutcome(execution, stage);
      if (blocked) return blocked;
      const keyed = keyedStage(execution, stage);
      if (keyed === null) return { state: 'abandoned' };
      const found = options.store.lookUp(keyed.key);
      if (found.state === 'hit' && isSufficient(found.entry, whole))
        return toldOutcome(useCached(execution, found.entry));
      if (options.mayRun?.(stage) === false) return { state: 'abandoned' };
      const fetched =
        found.state === 'hit' ? null : await fetchOutcome(execution, stage, keyed.key);
      if (fetched) return toldOutcome(fetched);
      const result = await attemptOnce(whole ? { ...keyed, whole } : keyed);
      if (result.state === 'unready') {
        const repaired = await Promise.all(result.damaged.map(repair));
        if (repaired.includes(true)) continue;
      } else if (result.state !== 'busy') return result;
      else if (!toldOfWait) {
        toldOfWait = true;
        tellNote(execution, `${stage.id}: another run is making it; waiting`);
      }
      await pause();
    }
  }

  /**
   * Attempts a stage. If a stage with the same key is being attempted, waits for that attempt
   * instead, and returns its result, with `cached` in place of `ran`.
   */
  async function attemptOnce(keyed: KeyedStage): Promise<AttemptResult> {
    const running = attempts.get(keyed.key);
    if (running) {
      const result = await running;
      return result.state === 'ran' ? { ...result, state: 'cached' } : result;
    }
    const started = attempt(keyed).finally(() => attempts.delete(keyed.key));
    attempts.set(keyed.key, started);
    return started;
  }

  return async (stage, upstream, whole) => {
    await Promise.all(upstream);
    const outcome = await settleNow(stage, whole);
    execution.outcomes.set(stage.id, outcome);
    options.onEvent({ type: 'stage-ended', stage, outcome });
    options.onEnded?.(stage, execution);
    return outcome;
  };
}

/** Returns a function that attempts a stage, alone or in a pack, once there is room. */
function createQueuedAttempts(
  execution: Execution,
  withLease: WithLease,
  lacking: readonly PlannedStage[],
): (keyed: KeyedStage) => Promise<AttemptResult> {
  const { plan, machine, options } = execution;
  const queue = createQueue(machine);
  const heightOf = stageHeights(plan.stages, lacking),
    places = new Map(plan.stages.map(({ id }, place) => [id, place]));
  const runPack = options.executor.runPack?.bind(options.executor);
  const { gatherMs } = machine,
    { pack: mostInPack = 1 } = options;
  const idOf = gatherMs === undefined ? togetherId : packId;
  const attemptInPack =
    (gatherMs !== undefined || plan.backend === 'torch') && mostInPack > 1 && runPack
      ? createPacker(
          execution,
          withLease,
          queue,
          gatherMs === undefined
            ? { gatherMs: TOGETHER_MS, most: mostInPack, places: placesOn(machine, plan.backend) }
            : { gatherMs, most: mostInPack },
          runPack,
        )
      : null;
  const tried = new Set<StageId>();
  return async (keyed) => {
    const { stage } = keyed;
    const turn = {
      need: needOf(stage, plan.backend, machine),
      priority: heightOf(stage.id),
      // A stage that another run makes is tried again and again, and must not come first each time.
      place: tried.has(stage.id) ? Number.MAX_SAFE_INTEGER : (places.get(stage.id) ?? 0),
    };
    tried.add(stage.id);
    const id = idOf(stage);
    return attemptInPack === null || id === null
      ? queue.add((gpus) => attemptAlone(execution, withLease, keyed, gpus), turn)
      : attemptInPack(keyed, id, turn);
  };
}

/**
 * Returns the outcome, `blocked` or `abandoned`, of a stage that can't run because an input has not
 * finished; null if it can run.
 */
function blockedOutcome(execution: Execution, stage: PlannedStage): Outcome | null {
  if (stage.descriptor.tolerant) return null;
  let blocked: Outcome | null = null;
  for (const id of Object.values(stage.inputs)) {
    const input = settledOutcome(execution, id);
    if (isFinished(input)) continue;
    if (input.state === 'abandoned') return input;
    blocked ??= input.state === 'failed' ? { state: 'blocked', by: id } : input;
  }
  return blocked;
}

/**
 * Waits for about POLL_MS. The time is random, so that two runs that wait for each other's stages
 * do not look at the same moments.
 */
const pause = (): Promise<void> => sleep(POLL_MS * (0.75 + Math.random() / 2));

/**
 * Returns a function that gives the height of a stage: the length of the longest chain of stages
 * that wait for it. Higher stages go first. All readers of a stage that is `lacking` (not cached at
 * the start) are lacking too, so heights in the whole plan are computed only if a stored entry has
 * to be made again.
 */
function stageHeights(
  stages: readonly PlannedStage[],
  lacking: readonly PlannedStage[],
): (id: StageId) => number {
  const isLacking = new Set(lacking.map(({ id }) => id)),
    ofLacking = heightsWithin(lacking),
    ofAll = once(() => heightsWithin(stages));
  return (id) => (isLacking.has(id) ? ofLacking : ofAll()).get(id) ?? 0;
}

/**
 * Returns the heights of stages: 1 + the greatest height of a stage's readers. Stages that nothing
 * reads have height 0 and are left out.
 */
function heightsWithin(stages: readonly PlannedStage[]): ReadonlyMap<StageId, number> {
  const heights = new Map<StageId, number>();
  for (let i = stages.length - 1; i >= 0; i--) {
    const { id, inputs } = at(stages, i),
      above = (heights.get(id) ?? 0) + 1;
    for (const input of Object.values(inputs))
      if ((heights.get(input) ?? 0) < above) heights.set(input, above);
  }
  return heights;
}
