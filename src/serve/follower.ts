/** Follows one run by its files, and sends what has changed to any number of listeners. */
import path from 'node:path';
import { parseRunPlan, PLAN_FILE } from '../log/run-plan.ts';
import { PROGRESS_FILE } from '../log/run-progress.ts';
import { unseal } from '../store/sealed.ts';
import type { StreamEvent } from './backlog.ts';
import type { Inside } from './inside.ts';
import { readInside } from './inside.ts';
import { createProjection } from './projection.ts';
import type { RunRecord } from './record.ts';
import { createRecord } from './record.ts';
import { MOST_STAGES } from './stage-records.ts';
import type { Tail } from './tail.ts';
import { openTail } from './tail.ts';
import { watchFolders } from './watch.ts';
import type { RunFacts, Snapshot } from './wire.ts';

const MB = 2 ** 20;
const PLAN_BYTES = 128 * MB,
  PROGRESS_BYTES = 8 * MB,
  JOURNAL_BYTES = 512 * MB,
  LINE_BYTES = MB;

export interface Follower {
  readonly id: string;
  /** The folder of the run. */
  readonly dir: string;
  readonly record: RunRecord;
  /** Resolves when everything that was there at the call has been read. */
  readonly look: () => Promise<void>;
  facts(): RunFacts;
  snapshot(): Snapshot;
  /**
   * Calls `listener` with the events after the one with this id, and with each later one. If the
   * events after it are no longer kept, the first is `reset`: the listener needs a new snapshot.
   * @returns a function that stops listening
   */
  listen(after: string | null, listener: (event: StreamEvent) => void): () => void;
  close(): void;
}

export interface FollowOptions {
  /** The folder of all runs. */
  readonly runs: string;
  readonly id: string;
  readonly onFault: (error: unknown) => void;
  readonly lookMs?: number;
}

export function followRun({ runs, id, onFault, lookMs }: FollowOptions): Follower {
  const inside = (name: string): Inside => ({ root: runs, names: [id, name] });
  const listeners = new Set<(event: StreamEvent) => void>();
  let shown = createProjection(id, createRecord(null));
  let tail = journalTail();
  let hasPlan: 'not yet' | 'read' | 'refused' = 'not yet';

  function journalTail(): Tail {
    return openTail({
      file: inside('journal.jsonl'),
      longest: LINE_BYTES,
      most: JOURNAL_BYTES,
      onLong: () => shown.damage(),
      onRestart: () => restart(shown.record.plan),
      onLine: (line) => {
        const event = unseal(line, 8);
        if (event === null) shown.damage();
        else shown.record.apply(event);
      },
    });
  }
  /** Starts a new record, and makes every listener ask for a new snapshot. */
  function restart(plan: RunRecord['plan']): void {
    shown = createProjection(id, createRecord(plan));
    for (const listener of listeners) listener(shown.backlog.reset());
  }
  const readPlan = async (): Promise<void> => {
    if (hasPlan !== 'not yet') return;
    const text = await readInside(inside(PLAN_FILE), PLAN_BYTES);
    if (text === null) return;
    const plan = parseRunPlan(text, MOST_STAGES);
    hasPlan = plan === null ? 'refused' : 'read';
    if (plan === null) return;
    restart(plan);
    tail = journalTail(); // what was read before is read again
  };
  const readProgress = async (): Promise<void> => {
    if (!shown.record.stages.some(({ state }) => state === 'running')) return;
    const text = await readInside(inside(PROGRESS_FILE), PROGRESS_BYTES);
    if (text !== null) shown.record.progress(unseal(text.trimEnd())?.['stages']);
  };
  const watching = watchFolders({
    dirs: [path.join(runs, id)],
    onFault,
    ...(lookMs === undefined ? {} : { lookMs }),
    read: async () => {
      await readPlan();
      await tail.read();
      await readProgress();
      const event = shown.publish();
      if (event !== null) for (const listener of listeners) listener(event);
    },
  });
  return {
    id,
    dir: path.join(runs, id),
    get record() {
      return shown.record;
    },
    look: watching.look,
    facts: () => shown.facts(),
    snapshot: () => shown.snapshot(),
    listen(after, listener) {
      const missed = shown.backlog.after(after);
      for (const event of missed ?? [shown.backlog.reset()]) listener(event);
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      watching.close();
      listeners.clear();
    },
  };
}
