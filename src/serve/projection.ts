/** What listeners see of a run: the whole at first, then what has changed. */
import { randomUUID } from 'node:crypto';
import { processState } from '../store/owner.ts';
import type { Backlog, StreamEvent } from './backlog.ts';
import { createBacklog } from './backlog.ts';
import { secondsLeft } from './estimate.ts';
import { failuresOf } from './failures.ts';
import { groupStages, layOut } from './graph.ts';
import type { RunRecord } from './record.ts';
import type { StageRecord } from './stage-records.ts';
import type {
  Changes,
  Counts,
  Overview,
  RunFacts,
  RunState,
  Snapshot,
  Stage,
  StageState,
  StageStatus,
} from './wire.ts';

export interface Projection {
  readonly record: RunRecord;
  readonly backlog: Backlog;
  /** Notes a line of the journal that can't be read. */
  damage(): void;
  facts(): RunFacts;
  snapshot(): Snapshot;
  /** Returns an event with what has changed since the last call; null if nothing has. */
  publish(): StreamEvent | null;
}

const UNENDED = { alive: 'running', dead: 'killed', unknown: 'unknown' } as const;

function stateOf({ end, process, stages }: RunRecord): RunState {
  if (end === null) return UNENDED[processState(process)];
  if (end.interrupted) return 'interrupted';
  return stages.some(({ state }) => state === 'failed') ? 'failed' : 'done';
}

/** Returns the state of a stage to show: once the run is over, no stage is running or waiting. */
function shownState({ state }: StageRecord, over: boolean): StageState {
  if (!over) return state;
  if (state === 'running') return 'stopped';
  return state === 'waiting' || state === 'ready' ? 'abandoned' : state;
}

const statusOf = (stage: StageRecord, over: boolean): StageStatus => ({
  state: shownState(stage, over),
  ...(stage.since === null ? {} : { since: stage.since }),
  ...(stage.seconds === null ? {} : { seconds: stage.seconds }),
  ...(stage.progress === null ? {} : { progress: stage.progress }),
});

/** Returns how many stages ran per minute. */
function rateOf({ ran = 0 }: Counts, created: number | null, until: number): number | null {
  const minutes = created === null ? 0 : (until - created) / 60_000;
  return ran > 0 && minutes > 0 ? ran / minutes : null;
}

function factsOf(id: string, record: RunRecord, damaged: number, over: boolean): RunFacts {
  const { plan, stages, created, heard, end } = record;
  const now = Date.now();
  const counts: { [State in StageState]?: number } = {};
  for (const stage of stages) {
    const state = shownState(stage, over);
    counts[state] = (counts[state] ?? 0) + 1;
  }
  return {
    id,
    state: stateOf(record),
    name: plan?.name.slice(0, 300) ?? '',
    spec: record.spec,
    backend: plan?.backend.slice(0, 100) ?? '',
    executor: plan?.executor.slice(0, 100) ?? '',
    started: created,
    heard,
    seconds: end?.seconds ?? null,
    counts,
    rate: rateOf(counts, created, over ? (heard ?? now) : now),
    left: over ? null : secondsLeft(stages, now),
    damaged,
    now,
  };
}

/** Returns the parts of an overview whose change is worth an event, as texts to compare. */
const textsOf = ({ facts, failures, notes }: Overview) => ({
  facts: JSON.stringify({ ...facts, now: 0, left: 0, rate: 0, heard: 0 }),
  failures: JSON.stringify(failures),
  notes: JSON.stringify(notes),
});

export function createProjection(id: string, record: RunRecord): Projection {
  const backlog = createBacklog(randomUUID().slice(0, 8));
  let grouping = groupStages(record.stages),
    graph = layOut(record.stages, grouping),
    /** The number of stages that listeners know. */
    known = record.stages.length,
    damaged = 0,
    over = false,
    told = { facts: '', failures: '', notes: '' };

  const overview = (): Overview => ({
    facts: factsOf(id, record, damaged, over),
    failures: failuresOf(record),
    notes: record.notes,
  });
  const stageAt = (stage: StageRecord, index: number): Stage => ({
    id: stage.id,
    label: stage.label,
    group: grouping.of[index] ?? 0,
    ...statusOf(stage, over),
  });
  /** Returns the indexes of the stages whose shown state has changed. */
  const takeChanged = (): readonly number[] => {
    const changed = new Set(record.takeChanged());
    const state = stateOf(record);
    const isOver = state !== 'running' && state !== 'unknown';
    if (isOver !== over) {
      over = isOver;
      for (const [index, stage] of record.stages.entries())
        if (shownState(stage, true) !== stage.state) changed.add(index);
    }
    return [...changed];
  };
  /** Returns the new stages that the plan does not name, if there are any. */
  const takeAdded = (): Pick<Changes, 'graph' | 'added'> => {
    const from = known;
    if (record.stages.length === from) return {};
    known = record.stages.length;
    grouping = groupStages(record.stages);
    if (grouping.names.length !== graph.groups.length) graph = layOut(record.stages, grouping);
    const added = record.stages.slice(from);
    return { graph, added: added.map((stage, offset) => stageAt(stage, from + offset)) };
  };
  return {
    record,
    backlog,
    damage() {
      damaged++;
    },
    facts: () => factsOf(id, record, damaged, over),
    snapshot: () => ({
      at: backlog.latest(),
      ...overview(),
      graph,
      stages: record.stages.slice(0, known).map(stageAt),
      left: record.left(),
    }),
    publish() {
      const changed = takeChanged();
      const current = overview();
      const before = told;
      told = textsOf(current);
      if (changed.length === 0 && told.facts === before.facts && told.notes === before.notes)
        return null;
      const from = known;
      const changes: Changes = {
        facts: current.facts,
        ...(told.failures === before.failures ? {} : { failures: current.failures }),
        ...(told.notes === before.notes ? {} : { notes: current.notes }),
        ...takeAdded(),
        stages: changed.flatMap((index) => {
          const stage = record.stages[index];
          return stage === undefined || index >= from ? [] : [[index, statusOf(stage, over)]];
        }),
      };
      return backlog.add('changes', changes);
    },
  };
}
