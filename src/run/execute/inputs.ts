/**
 * Checks what a stage is about to read: its inputs against their manifests, and its sources against
 * their digests. A damaged entry is moved aside. Its stage gets a new outcome, as if it had not run
 * yet, and so does a stage whose entry lacks files.
 */
import type { ActionKey, PlannedStage, StageId } from '../../plan/types.ts';
import type { Failed, Finished, Outcome } from '../log/events.ts';
import {
  type Execution,
  finishedInputs,
  isFinished,
  settledOutcome,
  tellDamage,
  tellNote,
} from './execution.ts';
import { failure } from './failure.ts';
import type { ReadEntry, Reads } from './guard.ts';
import { entryForReader, hasLetGo, needsWhole } from './keep.ts';

/** Some inputs of a stage must be repaired before its key is computed again and it is attempted. */
export interface Unready {
  readonly state: 'unready';
  /**
   * The stages whose entries are damaged or lack files; [] if another reader has just found the
   * damage.
   */
  readonly damaged: readonly StageId[];
}

export type InputChecks = ReturnType<typeof createInputChecks>;

export function createInputChecks(execution: Execution) {
  const { options, entries, guard, plan, stagesById } = execution;
  /** Checks under way: stages that read the same entry share them. */
  const checks = new Map<ActionKey, Promise<string | null>>();

  /**
   * Returns what is wrong with a stored entry, which may be that it is gone; null if nothing is.
   * Takes a damaged entry out of `entries`.
   */
  const findDamage = async (key: ActionKey): Promise<string | null> => {
    let entry = entries.get(key);
    if (!entry) {
      const found = options.store.lookUp(key);
      if (found.state !== 'hit') return found.state === 'damaged' ? found.why : 'it is gone';
      ({ entry } = found);
      entries.set(key, entry);
    }
    const damage = await guard.entryFault(entry);
    if (damage !== null) entries.delete(key);
    return damage;
  };

  const sharedCheck = (key: ActionKey): Promise<string | null> => {
    const check = checks.get(key) ?? findDamage(key).finally(() => checks.delete(key));
    checks.set(key, check);
    return check;
  };

  /** Returns what a stage reads, under guard, if the stage may start; else why it can't. */
  const checkReads = async (stage: PlannedStage): Promise<Reads | Unready | Failed> => {
    const read: (ReadEntry & { readonly id: StageId })[] = [],
      damaged: StageId[] = [];
    for (const { name, id, input } of finishedInputs(execution, stage)) {
      const damage = await sharedCheck(input.key),
        entry = entries.get(input.key);
      if (damage !== null || (entry && hasLetGo(entry) && needsWhole(stage))) damaged.push(id);
      else if (entry) read.push({ name, id, entry });
      else return { state: 'unready', damaged: [] }; // another reader has found damage
    }
    if (damaged.length > 0) return { state: 'unready', damaged };
    const assets = [...new Set(Object.values(stage.assets))].flatMap(
      (uri) => options.assets.get(uri) ?? [],
    );
    for (const asset of assets) {
      const error = await guard.assetFault(asset);
      if (error !== null)
        return failure(error, null, {
          hint: 'a run takes its sources as they are when it begins: run again',
        });
    }
    // Another reader may have found damage meanwhile.
    if (!read.every(({ entry }) => entries.get(entry.key) === entry))
      return { state: 'unready', damaged: [] };
    const held = read.map(({ name, id, entry }): ReadEntry => {
      const input = stagesById().get(id);
      return { name, entry: input ? entryForReader(plan, stage, input, entry) : entry };
    });
    return guard.reads(held, assets);
  };

  return { checkReads, findDamage };
}

/**
 * Returns a function that settles a finished stage again if its entry is damaged or lacks files,
 * and resolves to whether it did. A damaged entry that another run has leased is left to that run.
 * @param settleAgain returns the stage's new outcome; `whole`: also computes files that were let go
 */
export function createRepairs(
  execution: Execution,
  { findDamage }: InputChecks,
  settleAgain: (stage: PlannedStage, whole: boolean) => Promise<Outcome>,
): (id: StageId) => Promise<boolean> {
  const { options, outcomes, stagesById } = execution;
  const repairs = new Map<StageId, Promise<boolean>>();

  /**
   * Moves a damaged entry aside, and returns what is wrong with it; null if it is sound after all,
   * or if another run has its lease and repairs it.
   */
  const moveAside = async (stage: PlannedStage, { key }: Finished): Promise<string | null> => {
    const lease = options.store.take(key);
    if ('by' in lease) return null;
    try {
      const damage = await findDamage(key);
      if (damage === null) return null;
      const isGone = options.store.lookUp(key).state === 'absent';
      tellDamage(execution, stage, damage, isGone ? null : options.store.moveAside(key));
      return damage;
    } finally {
      lease.held.release();
    }
  };

  /**
   * Settles a stage again if its entry is damaged or lacks files, and returns true; else returns
   * false.
   */
  const repair = async (stage: PlannedStage, input: Finished): Promise<boolean> => {
    const damage = await moveAside(stage, input);
    const entry = execution.entries.get(input.key);
    const isLetGo = damage === null && entry !== undefined && hasLetGo(entry);
    if (damage === null && !isLetGo) return false;
    if (isLetGo) tellNote(execution, `files of ${stage.id} were let go; they are computed again`);
    const outcome: Outcome =
      options.mayRun?.(stage) === false
        ? failure(
            isLetGo
              ? 'files of it were let go, and it may not run here'
              : `its entry in the store is damaged: ${damage}`,
            null,
          )
        : await settleAgain(stage, isLetGo);
    outcomes.set(stage.id, outcome);
    options.onEvent({ type: 'stage-ended', stage, outcome });
    return true;
  };

  return (id) => {
    const running = repairs.get(id);
    if (running) return running;
    const stage = stagesById().get(id),
      input = settledOutcome(execution, id);
    if (stage === undefined || !isFinished(input)) return Promise.resolve(false);
    const started = repair(stage, input).finally(() => repairs.delete(id));
    repairs.set(id, started);
    return started;
  };
}
