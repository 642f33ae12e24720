/**
 * What a run's plan, journal and progress say about its stages, put together event by event. The
 * files are not trusted: whatever differs from what a run writes is left out, and everything that
 * is kept has a limit.
 */
import type { JsonObject } from '../api.ts';
import type { Mutable } from '../base/record.ts';
import type { RunPlan } from '../run/log/run-plan.ts';
import type { Process } from '../store/owner.ts';
import type { Note, Place, StageState } from './wire.ts';

/** How many stages of a run are followed at most. */
export const MOST_STAGES = 100_000;
/** How many characters of a name, and of any other text, are kept at most. */
const LONGEST_NAME = 300,
  LONGEST_TEXT = 4000;

export interface StageRecord {
  readonly id: string;
  readonly kind: string;
  /** The kind, and the section that the stage belongs to. */
  readonly group: string;
  readonly label: string;
  readonly goal: boolean;
  readonly inputs: readonly number[];
  readonly readers: number[];
  /** The number of stages that this stage reads and that have not ended. */
  missing: number;
  state: StageState;
  /** Whether the stage has ended once, so that its readers no longer count it as missing. */
  hasEnded: boolean;
  since: number | null;
  seconds: number | null;
  attempts: number;
  progress: readonly [done: number, total: number, unit: string] | null;
  place: Place | null;
  key: string | null;
  failure: {
    readonly error: string;
    readonly hint: string | null;
    readonly internal: boolean;
  } | null;
  /** The id of the failed stage that blocks it. */
  by: string | null;
  /** The seconds that it was expected to take before the run; null if unknown. */
  readonly expected: number | null;
  readonly places: number;
}

const ENDED: ReadonlySet<StageState> = new Set(['ran', 'cached', 'failed', 'blocked', 'abandoned']);

const cut = (text: string, most: number): string =>
  text.length > most ? `${text.slice(0, most)}… (cut)` : text;

/** Returns a text, cut to a length; null for any other value. */
const textOf = (value: unknown, most = LONGEST_NAME): string | null =>
  typeof value === 'string' ? cut(value, most) : null;
const numberOf = (value: unknown): number | null =>
  typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : null;

function timeOf(value: unknown): number | null {
  const time = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  return Number.isNaN(time) ? null : time;
}

function progressOf(value: unknown): StageRecord['progress'] {
  if (!Array.isArray(value)) return null;
  const [done, total, unit] = value as unknown[];
  const [doneCount, totalCount] = [numberOf(done), numberOf(total)];
  if (doneCount === null || totalCount === null) return null;
  return [doneCount, totalCount, textOf(unit, 40) ?? ''];
}

function placeOf(value: unknown): Place | null {
  if (!Array.isArray(value)) return null;
  const [job, node, waits] = (value as unknown[]).map((text) => textOf(text, 100));
  return job === null || job === undefined
    ? null
    : { job, node: node ?? null, waits: waits ?? null };
}

/** Returns what is known of a stage before any event of it. */
const firstState = () => ({
  readers: [],
  missing: 0,
  hasEnded: false,
  state: 'waiting' as const,
  since: null,
  seconds: null,
  attempts: 0,
  progress: null,
  place: null,
  key: null,
  failure: null,
  by: null,
});

/** Returns the plan's stages before any event, and which of them read which. */
function plannedStages(plan: RunPlan): StageRecord[] {
  const stages = plan.stages.slice(0, MOST_STAGES).map((stage): StageRecord => {
    const { id, kind, section, goal, inputs, cached, seconds, places } = stage;
    const name = cut(kind, LONGEST_NAME);
    return {
      id: cut(id, LONGEST_NAME),
      kind: name,
      group: section === null ? name : `${name} of ${cut(section, LONGEST_NAME)}`,
      label: cut(stage.label, LONGEST_NAME),
      goal,
      inputs,
      expected: seconds,
      places,
      ...firstState(),
      ...(cached === null ? {} : { hasEnded: true, state: 'cached', key: cached }),
    };
  });
  for (const [index, stage] of stages.entries()) {
    for (const input of stage.inputs) {
      const read = stages[input];
      if (read === undefined) continue;
      read.readers.push(index);
      if (read.state !== 'cached') stage.missing++;
    }
    if (stage.state === 'waiting' && stage.missing === 0) stage.state = 'ready';
  }
  return stages;
}

/** Returns a stage that only the journal names. Its label shows its cell, cut to a length. */
function unplannedStage(id: string, { kind, cell, seed }: JsonObject): StageRecord {
  const name = textOf(kind) ?? id.replace(/-[0-9a-f]+$/, '');
  const axes =
    typeof cell === 'object' && cell !== null
      ? Object.entries(cell).map(([axis, value]) => `${axis}=${JSON.stringify(value)}`)
      : [];
  const seeds = typeof seed === 'number' ? [`seed=${seed}`] : [];
  return {
    id,
    kind: name,
    group: name,
    label: cut([name, ...axes, ...seeds].join(' ').replaceAll('"', ''), LONGEST_NAME),
    goal: false,
    inputs: [],
    expected: null,
    places: 1,
    ...firstState(),
  };
}

const MOST_NOTES = 100;

interface Stages {
  readonly stages: readonly StageRecord[];
  readonly indexOf: (id: string) => number | undefined;
  /** Returns the number of stages beyond MOST_STAGES. */
  readonly left: () => number;
  readonly start: (event: JsonObject) => void;
  readonly end: (event: JsonObject) => void;
  /** Applies `stages` of progress.json. */
  readonly progress: (found: unknown) => void;
  /** Takes `places` of progress.json. */
  readonly places: (found: unknown) => void;
  /** Returns the stages whose status has changed since the last call, as indexes. */
  readonly takeChanged: () => number[];
}

export interface RunRecord extends Pick<
  Stages,
  'stages' | 'indexOf' | 'left' | 'progress' | 'places' | 'takeChanged'
> {
  readonly plan: RunPlan | null;
  readonly notes: readonly Note[];
  readonly spec: string;
  readonly process: Partial<Process>;
  /** What the heartbeat says of a process on another machine; null if that is not known yet. */
  pulse: 'beating' | 'silent' | null;
  readonly created: number | null;
  readonly heard: number | null;
  readonly end: { readonly interrupted: boolean; readonly seconds: number | null } | null;
  apply(event: JsonObject): void;
}

interface StageIndex {
  readonly stages: readonly StageRecord[];
  readonly indexes: ReadonlyMap<string, number>;
  /** Stages whose status has changed since it was last taken, as indexes. */
  readonly changed: Set<number>;
  /** Returns the number of stages beyond MOST_STAGES. */
  readonly left: () => number;
  /** Returns the stage of an event, and marks it as changed. Adds a stage that the plan lacks. */
  readonly stageOf: (event: JsonObject) => StageRecord | null;
}

function createStageIndex(plan: RunPlan | null): StageIndex {
  const stages = plan === null ? [] : plannedStages(plan);
  const indexes = new Map(stages.map(({ id }, index) => [id, index]));
  const changed = new Set<number>(),
    later = new Set<string>();
  return {
    stages,
    indexes,
    changed,
    left: () => later.size,
    stageOf(event) {
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
    },
  };
}

/** Lowers `missing` of the stages that read an ended stage. Those that reach 0 become ready. */
function tellReaders(stage: StageRecord, { stages, changed }: StageIndex): void {
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
}

function createStages(plan: RunPlan | null): Stages {
  const index = createStageIndex(plan);
  const { stages, indexes, changed, left, stageOf } = index;
  return {
    stages,
    indexOf: (id) => indexes.get(id),
    left,
    start(event) {
      const stage = stageOf(event);
      if (stage === null) return;
      stage.state = 'running';
      stage.since = timeOf(event['time']);
      stage.attempts++;
      stage.progress = null;
      stage.place = null;
      stage.failure = null;
      stage.by = null;
    },
    end(event) {
      const state = event['state'] as StageState;
      const stage = ENDED.has(state) ? stageOf(event) : null;
      if (stage === null) return;
      tellReaders(stage, index);
      stage.state = state;
      stage.seconds = numberOf(event['seconds']);
      stage.key = typeof event['key'] === 'string' ? event['key'] : null;
      stage.progress = null;
      stage.place = null;
      stage.by = textOf(event['by']);
      stage.failure = state === 'failed' ? failureOf(event) : null;
    },
    ...createProgressMarks(index),
    takeChanged() {
      const taken = [...changed];
      changed.clear();
      return taken;
    },
  };
}

function createProgressMarks({
  stages,
  indexes,
  changed,
}: StageIndex): Pick<Stages, 'progress' | 'places'> {
  /** Calls `mark`, which returns whether it changed the stage, for running stages in `found`. */
  const markAll = (found: unknown, mark: (stage: StageRecord, value: unknown) => boolean): void => {
    if (typeof found !== 'object' || found === null) return;
    for (const [id, value] of Object.entries(found)) {
      const index = indexes.get(id) ?? -1;
      const stage = stages[index];
      if (stage?.state === 'running' && mark(stage, value)) changed.add(index);
    }
  };
  return {
    progress(found) {
      markAll(found, (stage, value) => {
        const progress = progressOf(value);
        if (progress === null) return false;
        if (stage.progress?.[0] === progress[0] && stage.progress[1] === progress[1]) return false;
        stage.progress = progress;
        return true;
      });
    },
    places(found) {
      markAll(found, (stage, value) => {
        const place = placeOf(value);
        if (place === null || JSON.stringify(place) === JSON.stringify(stage.place)) return false;
        stage.place = place;
        return true;
      });
    },
  };
}

const failureOf = ({ error, hint, internal }: JsonObject): StageRecord['failure'] => ({
  error: textOf(error, LONGEST_TEXT) ?? 'it does not say why',
  hint: textOf(hint, LONGEST_TEXT),
  internal: internal === true,
});

/** Returns the record before any event. @param plan null for a run that recorded none */
export function createRecord(plan: RunPlan | null): RunRecord {
  const { start, end, ...stages } = createStages(plan);
  const notes: Note[] = [];
  const record: Mutable<RunRecord> = {
    ...stages,
    plan,
    notes,
    spec: '',
    process: {},
    pulse: null,
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

const processOf = ({ owner, hostname, boot }: JsonObject): Partial<Process> => ({
  ...(typeof owner === 'string' ? { owner } : {}),
  ...(typeof hostname === 'string' ? { hostname } : {}),
  ...(typeof boot === 'string' ? { boot } : {}),
});
