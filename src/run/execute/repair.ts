/**
 * Repairs a damaged entry that a stage was about to read: moves it aside, and settles again the
 * stage that makes it.
 */
import { once } from '../../base/once.ts';
import type { PlannedStage, StageId } from '../../plan/types.ts';
import type { Execution } from './execution.ts';
import { isFinished, outcomeOf, tellNote } from './execution.ts';
import type { InputChecks } from './inputs.ts';
import type { Finished, Outcome } from './types.ts';

/**
 * Returns a function that repairs the entry of a finished stage and resolves to whether it did.
 * Readers that find the same damage share one repair.
 */
export function createRepairs(
  execution: Execution,
  { damageOf }: InputChecks,
  settleAgain: (stage: PlannedStage) => Promise<Outcome>,
): (id: StageId) => Promise<boolean> {
  const { plan, options, outcomes, own } = execution;
  const byId = once(() => new Map(plan.stages.map((stage) => [stage.id, stage])));
  const repairs = new Map<StageId, Promise<boolean>>();

  /**
   * Returns null if the entry turns out to be whole, or if another run has its lease and looks
   * after it.
   */
  const moveAside = async (stage: PlannedStage, { key }: Finished): Promise<string | null> => {
    const lease = options.store.take(key);
    if ('by' in lease) return null;
    try {
      const damage = await damageOf(key);
      if (damage === null) return null;
      own.delete(key);
      const where =
        options.store.lookUp(key).state === 'absent'
          ? ''
          : `; moved to ${options.store.moveAside(key)}`;
      tellNote(
        execution,
        `the entry of ${stage.id} was damaged (${damage})${where}, it is made again`,
      );
      return damage;
    } finally {
      lease.held.release();
    }
  };

  const repair = async (stage: PlannedStage, input: Finished): Promise<boolean> => {
    const damage = await moveAside(stage, input);
    if (damage === null) return false;
    const outcome: Outcome =
      options.mayRun?.(stage) === false
        ? {
            state: 'failed',
            error: `its entry in the store is damaged: ${damage}`,
            internal: false,
            log: null,
          }
        : await settleAgain(stage);
    outcomes.set(stage.id, outcome);
    options.onEvent({ type: 'stage-ended', stage, outcome });
    return true;
  };

  return (id) => {
    const running = repairs.get(id);
    if (running) return running;
    const stage = byId().get(id),
      input = outcomeOf(execution, id);
    if (stage === undefined || !isFinished(input)) return Promise.resolve(false);
    const started = repair(stage, input).finally(() => repairs.delete(id));
    repairs.set(id, started);
    return started;
  };
}
