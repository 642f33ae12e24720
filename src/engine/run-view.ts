/** Records what `dosimeter serve` shows of a run beside its journal: the plan and the progress. */
import path from 'node:path';
import type { RunEvent } from '../execute/types.ts';
import type { Mutable } from '../log/mutable.ts';
import type { Redact } from '../log/redact.ts';
import type { RecordedStage } from '../log/run-plan.ts';
import { saveRunPlan } from '../log/run-plan.ts';
import { openRunProgress } from '../log/run-progress.ts';
import { at } from '../plan/at.ts';
import type { StageId } from '../plan/types.ts';
import { ifDiskAllows } from '../store/faults.ts';
import type { Prepared } from './prepare.ts';
import type { RunStart } from './types.ts';

export interface RunViewOptions extends Pick<RunStart, 'dir' | 'durations' | 'places'> {
  readonly executor: string;
  /** The labels of the plan's stages, in its order. */
  readonly labels: readonly string[];
  readonly redact: Redact;
  /** Told what the disk refuses. The run goes on without. */
  readonly note: (message: string) => void;
}

/** Writes the plan. Returns a function that takes the run's events. */
export function recordView(
  { plan, statuses, experiment, store }: Prepared,
  { dir, durations, places, executor, labels, redact, note }: RunViewOptions,
): (event: RunEvent) => void {
  const indexes = new Map<StageId, number>();
  // The statuses are in the plan's order.
  const stages = statuses.map(({ stage, entry }, index) => {
    indexes.set(stage.id, index);
    const recorded: Mutable<RecordedStage> = {
      id: stage.id,
      kind: stage.kind,
      label: redact(at(labels, index)),
      inputs: Object.values(stage.inputs).map((id) => indexes.get(id)!), // they come before it
      goal: stage.goal,
      places: places(stage),
    };
    if (stage.section !== null) recorded.section = stage.section;
    const seconds = entry ? null : durations.expect(stage);
    if (entry) recorded.cached = entry.key;
    else if (seconds !== null) recorded.seconds = seconds;
    return recorded;
  });
  const { name } = experiment;
  const { backend } = plan;
  const place = path.resolve(store.root);
  ifDiskAllows(
    dir,
    () => saveRunPlan(dir, { name, store: place, backend, executor, stages }),
    note,
  );
  let refused = false;
  return openRunProgress(dir, (save) => {
    if (refused) return;
    ifDiskAllows(dir, save, () => {
      refused = true; // the journal's own note says that the disk is full
    });
  });
}
