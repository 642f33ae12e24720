/**
 * What a run's plan, journal and progress say about its stages, put together event by event. The
 * files are not trusted: whatever differs from what a run writes is left out, and everything that
 * is kept has a limit.
 */
import type { JsonObject } from '../api.ts';
import type { RunPlan } from '../log/run-plan.ts';
import type { Process } from '../store/owner.ts';
import type { StageRecord } from './stage-records.ts';
import {
  ENDED,
  LONGEST_NAME,
  LONGEST_TEXT,
  MOST_STAGES,
  numberOf,
  plannedStages,
  progressOf,
  textOf,
  timeOf,
  unplannedStage,
} from './stage-records.ts';
import type { Note, StageState } from './wire.ts';

const MOST_NOTES = 100;

interface Stages {
  readonly stages: readonly StageRecord[];
  readonly indexOf: (id: string) => number | undefined;
  /** Returns the number of stages beyond MOST_STAGES. */
  readonly left: () => number;
  readonly start: (event: JsonObject) => void;
  readonly end: (event: JsonObject) => void;
  /** Applies the content of progress.json. */
  readonly progress: (found: unknown) => void;
  /** Returns the stages whose status has changed since the last call, as indexes. */
  readonly takeChanged: () => number[];
}

export interface RunRecord extends Pick<
  Stages,
  'stages' | 'indexOf' | 'left' | 'progress' | 'takeChanged'
> {
  readonly plan: RunPlan | null;
  readonly notes: readonly Note[];
  readonly spec: string;
  readonly process: Partial<Process>;
  readonly created: number | null;
  readonly heard: number | null;
  readonly end: { readonly interrupted: boolean; readonly seconds: number | null } | null;
  apply(event: JsonObject): void;
}

function createStages(plan: RunPlan | null): Stages {
  const stages = plan === null ? [] : plannedStages(plan);
  const indexes = new Map(stages.map(({ id }, index) => [id, index]));
  const changed = new Set<number>(),
    later = new Set<string>();
  const stageOf = (event: JsonObject): StageRecord | null => {
    const id = event['stage'];
    if (typeof id !== 'string' || id.length > LONGEST_NAME) return null;
    const index = indexes.get(id);
    if (index !== undefined) {
      changed.add(index);
      return stages[index] ?? null;
    }
    if (stages.length >= MOST_STAGES) {
      if (later.size < MOST_STAGES) later.add(id);
      return null;
    }
    const stage = unplannedStage(id, event);
    indexes.set(id, stages.length);
    changed.add(stages.length);
    stages.push(stage);
    return stage;
  };
  /** Counts an ended stage off for the stages that read it. Those that miss no other are ready. */
  const tellReaders = (stage: StageRecord): void => {
    if (stage.hasEnded) return;
    stage.hasEnded = true;
    for (const reader of stage.readers) {
      const waiting = stages[reader];
      if (waiting === undefined) continue;
      waiting.missing--;
      if (waiting.missing > 0 || waiting.state !== 'waiting') continue;
      waiting.state = 'ready';
      changed.add(reader);
    }
  };
  return {
    stages,
    indexOf: (id) => indexes.get(id),
    left: () => later.size,
    start(event) {
      const stage = stageOf(event);
      if (stage === null) return;
      stage.state = 'running';
      stage.since = timeOf(event['time']);
      stage.attempts++;
      stage.progress = null;
      stage.failure = null;
      stage.by = null;
    },
    end(event) {
      const state = event['state'] as StageState;
      const stage = ENDED.has(state) ? stageOf(event) : null;
      if (stage === null) return;
      tellReaders(stage);
      stage.state = state;
      stage.seconds = numberOf(event['seconds']);
      stage.key = typeof event['key'] === 'string' ? event['key'] : null;
      stage.progress = null;
      stage.by = textOf(event['by']);
      stage.failure = state === 'failed' ? failureOf(event) : null;
    },
    progress(found) {
      if (typeof found !== 'object' || found === null) return;
      for (const [id, value] of Object.entries(found)) {
        const index = indexes.get(id) ?? -1;
        const stage = stages[index];
        const progress = progressOf(value);
        if (stage?.state !== 'running' || progress === null) continue;
        if (stage.progress?.[0] === progress[0] && stage.progress[1] === progress[1]) continue;
        stage.progress = progress;
        changed.add(index);
      }
    },
    takeChanged() {
      const taken = [...changed];
      changed.clear();
      return taken;
    },
  };
}

const failureOf = ({ error, hint, internal }: JsonObject): StageRecord['failure'] => ({
  error: textOf(error, LONGEST_TEXT) ?? 'it does not say why',
  hint: textOf(hint, LONGEST_TEXT),
  internal: internal === true,
});

/** @param plan the run's plan; null for a run that recorded none */
export function createRecord(plan: RunPlan | null): RunRecord {
  const { start, end, ...stages } = createStages(plan);
  const notes: Note[] = [];
  const record: Mutable<RunRecord> = {
    ...stages,
    plan,
    notes,
    spec: '',
    process: {},
    created: null,
    heard: null,
    end: null,
    apply(event) {
      const at = timeOf(event['time']);
      record.heard = at ?? record.heard;
      // A run that another process resumes names that process.
      if (typeof event['owner'] === 'string') record.process = processOf(event);
      const { event: name } = event;
      switch (typeof name === 'string' ? name : '') {
        case 'created':
          record.created = at;
          record.spec = textOf(event['spec'], LONGEST_TEXT) ?? '';
          break;
        case 'started':
          record.end = null;
          break;
        case 'stage-started':
          start(event);
          break;
        case 'stage-ended':
          end(event);
          break;
        case 'note':
          notes.push({ at, text: textOf(event['message'], LONGEST_TEXT) ?? '' });
          if (notes.length > MOST_NOTES) notes.shift();
          break;
        case 'ended':
          record.end = {
            interrupted: event['interrupted'] === true,
            seconds: numberOf(event['seconds']),
          };
          break;
      }
    },
  };
  return record;
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

const processOf = ({ owner, hostname, boot }: JsonObject): Partial<Process> => ({
  ...(typeof owner === 'string' ? { owner } : {}),
  ...(typeof hostname === 'string' ? { hostname } : {}),
  ...(typeof boot === 'string' ? { boot } : {}),
});
