/** Follows one run by its files, and sends what has changed to any number of listeners. */
import path from 'node:path';
import { defined } from '../base/defined.ts';
import { excessOf } from '../base/untrusted/json.ts';
import { BEAT_FILE } from '../run/log/run-folder.ts';
import { parseRunPlan, PLAN_FILE, PROGRESS_FILE } from '../run/log/run-plan.ts';
import { processState } from '../store/owner.ts';
import { unseal } from '../store/sealed.ts';
import { type Inside, openTail, readInside, type Tail, watchFolders } from './files.ts';
import { createProjection } from './projection.ts';
import { createRecord, MOST_STAGES, type RunRecord } from './record.ts';
import type { StreamEvent } from './stream.ts';
import type { RunFacts, Snapshot } from './wire.ts';

const MB = 2 ** 20;
/** The most bytes that are read of each file, and of a line of the journal. */
const PLAN_BYTES = 64 * MB,
  PROGRESS_BYTES = 8 * MB,
  JOURNAL_BYTES = 512 * MB,
  BEAT_BYTES = 1024,
  LINE_BYTES = MB;
/** The most lines of a journal that are read: a stage has a few events. */
const JOURNAL_LINES = 10 * MOST_STAGES;
/** A plan has some 10 values and 2 lists a stage, and names in its groups alone. */
const FILE_LIMITS = { values: 40 * MOST_STAGES, lists: 4 * MOST_STAGES, names: MOST_STAGES },
  LINE_LIMITS = { values: 10_000, names: 1000 };

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

/**
 * Follows a run: reads its files whenever they change, the journal from its start once the plan is
 * there, and sends listeners what has changed.
 */
export function followRun({ runs, id, onFault, lookMs }: FollowOptions): Follower {
  const inside = (name: string): Inside => ({ root: runs, names: [id, name] });
  const listeners = new Set<(event: StreamEvent) => void>();
  let projection = createProjection(id, createRecord(null));
  let tail = journalTail();
  let planState: 'missing' | 'read' | 'refused' = 'missing';

  function journalTail(): Tail {
    return openTail({
      file: inside('journal.jsonl'),
      longest: LINE_BYTES,
      most: JOURNAL_BYTES,
      mostLines: JOURNAL_LINES,
      onFull: () => note(`the journal is followed for ${JOURNAL_LINES} lines, and has more`),
      onLong: () => projection.damage(),
      onRestart: () => restart(projection.record.plan),
      onLine: (line) => {
        const event = excessOf(line, LINE_LIMITS) === null ? unseal(line, 8) : null;
        if (event === null) projection.damage();
        else projection.record.apply(event);
      },
    });
  }
  const note = (message: string): void => projection.record.apply({ event: 'note', message });
  function restart(plan: RunRecord['plan']): void {
    projection = createProjection(id, createRecord(plan));
    for (const listener of listeners) listener(projection.backlog.reset());
  }
  const readPlan = async (): Promise<void> => {
    if (planState !== 'missing') return;
    const text = await readInside(inside(PLAN_FILE), PLAN_BYTES);
    if (text === null) return;
    const excess = excessOf(text, FILE_LIMITS);
    const plan = excess === null ? parseRunPlan(text, MOST_STAGES) : null;
    planState = plan === null ? 'refused' : 'read';
    if (excess !== null) note(`the run's plan is left out: it ${excess}`);
    if (plan === null) return;
    restart(plan);
    tail = journalTail(); // what was read before is read again
  };
  const readProgress = async (): Promise<void> => {
    if (!projection.record.stages.some(({ state }) => state === 'running')) return;
    const text = await readInside(inside(PROGRESS_FILE), PROGRESS_BYTES);
    const found =
      text === null || excessOf(text, FILE_LIMITS) !== null ? null : unseal(text.trimEnd());
    projection.record.progress(found?.['stages']);
    projection.record.places(found?.['places']);
  };
  const readBeat = createBeatReader(inside(BEAT_FILE));
  const watching = watchFolders({
    dirs: [path.join(runs, id)],
    onFault,
    ...defined({ lookMs }),
    read: async () => {
      await readPlan();
      await tail.read();
      await readProgress();
      await readBeat(projection.record);
      const event = projection.publish();
      if (event !== null) for (const listener of listeners) listener(event);
    },
  });
  return {
    id,
    dir: path.join(runs, id),
    get record() {
      return projection.record;
    },
    look: watching.look,
    facts: () => projection.facts(),
    snapshot: () => projection.snapshot(),
    listen(after, listener) {
      const missed = projection.backlog.after(after);
      for (const event of missed ?? [projection.backlog.reset()]) listener(event);
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      watching.close();
      listeners.clear();
    },
  };
}

/** Returns a function that sets `pulse` of a record whose process can't be seen from here. */
function createBeatReader(file: Inside): (record: RunRecord) => Promise<void> {
  const pulse = createPulse();
  return async (record) => {
    if (record.end !== null || processState(record.process) !== 'unknown') return;
    record.pulse = pulse.look(await readInside(file, BEAT_BYTES));
  };
}

/** How long a heartbeat's file may stay unchanged. A run writes it every two seconds. */
const SILENT_MS = 20_000;

export interface Pulse {
  /**
   * Takes the content of the heartbeat's file as it is now; null if there is none.
   * @returns null if the file has not been watched for long enough
   */
  look(beat: string | null): 'beating' | 'silent' | null;
}

/** Times a heartbeat by this process's monotonic clock alone: other machines' clocks may differ. */
export function createPulse(now: () => number = () => performance.now()): Pulse {
  let last: string | null | undefined,
    since = 0,
    hasChanged = false;
  return {
    look(beat) {
      if (beat !== last) {
        hasChanged = last !== undefined && beat !== null;
        last = beat;
        since = now();
      }
      if (now() - since >= SILENT_MS) return 'silent';
      return hasChanged ? 'beating' : null;
    },
  };
}
