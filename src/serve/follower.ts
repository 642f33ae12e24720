/** Follows one run by its files, and tells any number of listeners what has changed. */
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { parseRunPlan, PLAN_FILE } from '../log/run-plan.ts';
import { PROGRESS_FILE } from '../log/run-progress.ts';
import { processState } from '../store/owner.ts';
import { unseal } from '../store/sealed.ts';
import type { Backlog, StreamEvent } from './backlog.ts';
import { createBacklog } from './backlog.ts';
import { secondsLeft } from './estimate.ts';
import { failuresOf } from './failures.ts';
import type { Grouping } from './graph.ts';
import { groupStages, layOut } from './graph.ts';
import { readInside } from './inside.ts';
import type { RunRecord, StageRecord } from './record.ts';
import { createRecord, MOST_STAGES } from './record.ts';
import type { Tail } from './tail.ts';
import { openTail } from './tail.ts';
import { watchFolders } from './watch.ts';
import type { Changes, Counts, Graph, Overview, RunFacts, Snapshot, StageStatus } from './wire.ts';
import type { StageState } from './wire.ts';

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
  /** Resolves when all that was there at the call has been read. */
  readonly look: () => Promise<void>;
  facts(): RunFacts;
  snapshot(): Snapshot;
  /** Returns the status of a stage as it is shown: nothing runs once the run is over. */
  readonly statusOf: (stage: StageRecord) => StageStatus;
  /**
   * Calls `listener` with the events after that of this id, and with each that follows. The first
   * is `reset` if it is not known what came after: the listener then needs a new snapshot.
   * @returns a function that ends it
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

interface Parts {
  readonly record: RunRecord;
  readonly tail: Tail;
  readonly backlog: Backlog;
  damaged: number;
  grouping: Grouping;
  graph: Graph;
  /** The number of stages that listeners know. */
  told: number;
  over: boolean;
}

export function followRun({ runs, id, onFault, lookMs }: FollowOptions): Follower {
  const inside = (name: string) => ({ root: runs, names: [id, name] });
  const listeners = new Set<(event: StreamEvent) => void>();
  let parts = begin(null);
  let planned: 'not yet' | 'read' | 'refused' = 'not yet';
  let told = { failures: '', notes: '', facts: '' };

  function begin(plan: RunRecord['plan']): Parts {
    const record = createRecord(plan);
    const grouping = groupStages(record.stages);
    return {
      record,
      tail: openTail({
        file: inside('journal.jsonl'),
        longest: LINE_BYTES,
        most: JOURNAL_BYTES,
        onLong: () => parts.damaged++,
        onRestart: () => restart(parts.record.plan),
        onLine: (line) => {
          const event = unseal(line, 8);
          if (event === null) parts.damaged++;
          else parts.record.apply(event);
        },
      }),
      backlog: createBacklog(randomUUID().slice(0, 8)),
      damaged: 0,
      grouping,
      graph: layOut(record.stages, grouping),
      told: record.stages.length,
      over: false,
    };
  }
  /** Begins anew, and makes every listener do the same. */
  function restart(plan: RunRecord['plan']): void {
    const { tail } = parts;
    parts = { ...begin(plan), ...(plan === parts.record.plan ? { tail } : {}) };
    for (const listener of listeners) listener(parts.backlog.reset());
  }

  const runState = (): RunFacts['state'] => {
    const { end, process } = parts.record;
    if (end?.interrupted) return 'interrupted';
    if (end) return parts.record.stages.some(({ state }) => state === 'failed') ? 'failed' : 'done';
    return ({ alive: 'running', dead: 'killed', unknown: 'unknown' } as const)[
      processState(process)
    ];
  };
  const shown = ({ state }: StageRecord): StageState =>
    !parts.over
      ? state
      : state === 'running'
        ? 'stopped'
        : state === 'waiting' || state === 'ready'
          ? 'abandoned'
          : state;
  const statusOf = (stage: StageRecord): StageStatus => ({
    state: shown(stage),
    ...(stage.since === null ? {} : { since: stage.since }),
    ...(stage.seconds === null ? {} : { seconds: stage.seconds }),
    ...(stage.progress === null ? {} : { progress: stage.progress }),
  });

  const facts = (): RunFacts => {
    const { record, damaged, over } = parts;
    const now = Date.now();
    const counts: { [State in StageState]?: number } = {};
    for (const stage of record.stages) counts[shown(stage)] = (counts[shown(stage)] ?? 0) + 1;
    const until = over ? (record.heard ?? now) : now;
    return {
      id,
      state: runState(),
      name: record.plan?.name.slice(0, 300) ?? '',
      spec: record.spec,
      backend: record.plan?.backend.slice(0, 100) ?? '',
      executor: record.plan?.executor.slice(0, 100) ?? '',
      started: record.created,
      heard: record.heard,
      seconds: record.end?.seconds ?? null,
      counts,
      rate: rateOf(counts, record.created, until),
      left: over ? null : secondsLeft(record.stages, now),
      damaged,
      now,
    };
  };
  const overview = (): Overview => ({
    facts: facts(),
    failures: failuresOf(parts.record),
    notes: parts.record.notes,
  });
  const stageOf = (stage: StageRecord, index: number) => ({
    id: stage.id,
    label: stage.label,
    group: parts.grouping.of[index] ?? 0,
    ...statusOf(stage),
  });

  const readPlan = async (): Promise<void> => {
    if (planned !== 'not yet') return;
    const text = await readInside(inside(PLAN_FILE), PLAN_BYTES);
    if (text === null) return;
    const plan = parseRunPlan(text, MOST_STAGES);
    planned = plan === null ? 'refused' : 'read';
    if (plan !== null) restart(plan);
  };
  const readProgress = async (): Promise<void> => {
    if (!parts.record.stages.some(({ state }) => state === 'running')) return;
    const text = await readInside(inside(PROGRESS_FILE), PROGRESS_BYTES);
    if (text !== null) parts.record.progress(unseal(text.trimEnd())?.['stages']);
  };
  const publish = (): void => {
    const { record, backlog } = parts;
    const state = runState();
    const over = state !== 'running' && state !== 'unknown';
    const changed = new Set(record.takeChanged());
    if (over !== parts.over) {
      parts.over = over;
      for (const [index, stage] of record.stages.entries())
        if (shown(stage) !== stage.state || !over) changed.add(index);
    }
    const changes = changesOf([...changed]);
    if (changes === null) return;
    const event = backlog.add('changes', changes);
    for (const listener of listeners) listener(event);
  };
  /** Returns what listeners do not know yet; null if they know everything. */
  const changesOf = (changed: readonly number[]): Changes | null => {
    const { record } = parts;
    const known = parts.told;
    const current = overview();
    const text = {
      failures: JSON.stringify(current.failures),
      notes: JSON.stringify(current.notes),
      facts: JSON.stringify({ ...current.facts, now: 0, left: 0, rate: 0, heard: 0 }),
    };
    const before = told;
    told = text;
    if (changed.length === 0 && text.facts === before.facts && text.notes === before.notes)
      return null;
    const isNew = record.stages.length > known;
    if (isNew) {
      parts.grouping = groupStages(record.stages);
      if (parts.grouping.names.length !== parts.graph.groups.length)
        parts.graph = layOut(record.stages, parts.grouping);
      parts.told = record.stages.length;
    }
    return {
      facts: current.facts,
      ...(text.failures === before.failures ? {} : { failures: current.failures }),
      ...(text.notes === before.notes ? {} : { notes: current.notes }),
      stages: changed.flatMap((index) => {
        const stage = record.stages[index];
        return stage === undefined || index >= known ? [] : [[index, statusOf(stage)] as const];
      }),
      ...(isNew
        ? {
            graph: parts.graph,
            added: record.stages
              .slice(known)
              .map((stage, offset) => stageOf(stage, known + offset)),
          }
        : {}),
    };
  };

  const watching = watchFolders({
    dirs: [path.join(runs, id)],
    onFault,
    ...(lookMs === undefined ? {} : { lookMs }),
    read: async () => {
      await readPlan();
      await parts.tail.read();
      await readProgress();
      publish();
    },
  });

  return {
    id,
    dir: path.join(runs, id),
    get record() {
      return parts.record;
    },
    look: watching.look,
    facts,
    statusOf,
    snapshot: () => ({
      at: parts.backlog.latest(),
      ...overview(),
      graph: parts.graph,
      stages: parts.record.stages.slice(0, parts.told).map(stageOf),
      left: parts.record.left,
    }),
    listen(after, listener) {
      const missed = parts.backlog.after(after);
      for (const event of missed ?? [parts.backlog.reset()]) listener(event);
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      watching.close();
      listeners.clear();
    },
  };
}

/** Returns how many stages ran per minute. */
function rateOf({ ran = 0 }: Counts, created: number | null, until: number): number | null {
  const minutes = created === null ? 0 : (until - created) / 60_000;
  return ran > 0 && minutes > 0 ? ran / minutes : null;
}
