/** Stages that would run, grouped by why. Pure. */
import type { StageStatus } from '../execute/survey.ts';
import type { PlannedStage, StageId } from '../plan/types.ts';

export interface Explained extends Pick<StageStatus, 'stage' | 'state'> {
  /** What changed, or what is not there, in words. */
  readonly why: () => readonly string[];
}

export interface Cause {
  readonly text: string;
  /** Stages that it concerns directly. */
  readonly stages: readonly PlannedStage[];
  /** Those that wait for them, directly or not: whether they run depends on what comes out. */
  readonly waiting: readonly PlannedStage[];
}

/**
 * In the order in which the plan first meets them. A stage that has several causes is under each of them.
 * @param chosen the stages to account for
 * @param explained every stage of the plan
 */
export function causesOf(
  chosen: readonly PlannedStage[],
  explained: ReadonlyMap<StageId, Explained>,
): readonly Cause[] {
  const known = new Map<StageId, ReadonlySet<string>>();
  const own = new Map<StageId, readonly string[]>();
  const isPending = (id: StageId): boolean => {
    const { stage, state } = explained.get(id)!;
    return (
      state === 'pending' &&
      Object.values(stage.inputs).some((input) => explained.get(input)!.state !== 'cached')
    );
  };
  const ownOf = (id: StageId): readonly string[] => {
    const found = own.get(id) ?? explained.get(id)!.why();
    own.set(id, found);
    return found;
  };
  /** Of a stage that waits for others, theirs. */
  const rootsOf = (id: StageId): ReadonlySet<string> => {
    let found = known.get(id);
    if (found === undefined) {
      found = new Set(
        isPending(id)
          ? Object.values(explained.get(id)!.stage.inputs)
              .filter((input) => explained.get(input)!.state !== 'cached')
              .flatMap((input) => [...rootsOf(input)])
          : ownOf(id),
      );
      known.set(id, found);
    }
    return found;
  };

  const causes = new Map<string, { stages: PlannedStage[]; waiting: PlannedStage[] }>();
  for (const stage of chosen) {
    const waits = isPending(stage.id);
    for (const text of rootsOf(stage.id)) {
      const cause = causes.get(text) ?? { stages: [], waiting: [] };
      causes.set(text, cause);
      (waits ? cause.waiting : cause.stages).push(stage);
    }
  }
  return [...causes].map(([text, cause]) => ({ text, ...cause }));
}
