/** Records what `dosimeter serve` shows of a run beside its journal: the plan and the progress. */
import path from 'node:path';
import { at } from '../base/lookup.ts';
import type { StageId } from '../plan/types.ts';
import { ifDiskAllows } from '../store/faults.ts';
import type { RunEvent } from './log/events.ts';
import type { Redact } from './log/redact.ts';
import { createRunPlanWriter } from './log/run-plan.ts';
import { openRunProgress } from './log/run-progress.ts';
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
  const recorded = createRunPlanWriter();
  // The statuses are in the plan's order.
  statuses.forEach(({ stage, entry }, index) => {
    const { id, kind, section, goal } = stage;
    indexes.set(id, index);
    const inputs: number[] = [];
    // Inputs come before the stages that read them.
    for (const input in stage.inputs) inputs.push(indexes.get(stage.inputs[input]!)!);
    recorded.add({
      id,
      kind,
      section,
      label: redact(at(labels, index)),
      inputs,
      goal,
      places: places(stage),
      cached: entry?.key ?? null,
      seconds: entry ? null : durations.expect(stage),
    });
  });
  const { name } = experiment;
  const { backend } = plan;
  const facts = { name, store: path.resolve(store.root), backend, executor };
  ifDiskAllows(dir, () => recorded.save(dir, facts), note);
  let refused = false;
  return openRunProgress(dir, (save) => {
    if (refused) return;
    ifDiskAllows(dir, save, () => {
      refused = true; // the journal's own note says that the disk is full
    });
  });
}
