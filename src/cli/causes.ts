/** Groups the stages that would run by the reason why. Pure. */
import { memoized } from '../base/memoized.ts';
import type { PlannedStage, StageId } from '../plan/types.ts';
import type { StageStatus } from '../run/execute/survey.ts';

export interface Explained extends Pick<StageStatus, 'stage' | 'state'> {
  /** Returns what changed, or what is missing, in words. */
  readonly why: () => readonly string[];
}

export interface Cause {
  readonly text: string;
  /** The stages that the cause concerns directly. */
  readonly stages: readonly PlannedStage[];
  /**
   * The stages that wait for `stages`, directly or not. Whether they run depends on their inputs'
   * content.
   */
  readonly waiting: readonly PlannedStage[];
}

/**
 * Returns the causes in the order in which the plan first meets them. A stage with several causes
 * is listed under each of them.
 * @param chosen the stages to account for
 * @param explained every stage of the plan
 */
export function causesOf(
  chosen: readonly PlannedStage[],
  explained: ReadonlyMap<StageId, Explained>,
): readonly Cause[] {
  const get = (id: StageId): Explained => {
    const found = explained.get(id);
    if (!found) throw new Error(`${id} is not explained`);
    return found;
  };
  const uncachedInputs = (id: StageId): StageId[] =>
    Object.values(get(id).stage.inputs).filter((input) => get(input).state !== 'cached');
  /** Whether a stage waits for other stages. A pending stage may also wait only for a source. */
  const waitsForOthers = (id: StageId): boolean =>
    get(id).state === 'pending' && uncachedInputs(id).length > 0;
  /** Returns a stage's own causes, or those of the stages that it waits for. */
  const rootsOf = memoized(
    (id: StageId): ReadonlySet<string> =>
      new Set(
        waitsForOthers(id)
          ? uncachedInputs(id).flatMap((input) => [...rootsOf(input)])
          : get(id).why(),
      ),
  );

  const causes = new Map<string, { stages: PlannedStage[]; waiting: PlannedStage[] }>();
  for (const stage of chosen) {
    const waits = waitsForOthers(stage.id);
    for (const text of rootsOf(stage.id)) {
      const cause = causes.get(text) ?? { stages: [], waiting: [] };
      causes.set(text, cause);
      (waits ? cause.waiting : cause.stages).push(stage);
    }
  }
  return [...causes].map(([text, cause]) => ({ text, ...cause }));
}
