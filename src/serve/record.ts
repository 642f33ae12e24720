/**
 * What a run's plan, journal and progress say about its stages, put together event by event. The
 * events may be anyone's: whatever is not as a run writes it is left out, and everything that is
 * kept has a limit.
 */
import type { JsonObject } from '../api.ts';
import type { RunPlan } from '../log/run-plan.ts';
import type { Process } from '../store/owner.ts';
import type { Note, StageState } from './wire.ts';

/** The most stages of a run that are followed. */
export const MOST_STAGES = 100_000;
const MOST_NOTES = 100;
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
  /** How many stages that it reads have not ended. */
  missing: number;
  state: StageState;
  since: number | null;
  seconds: number | null;
  attempts: number;
  progress: readonly [done: number, total: number, unit: string] | null;
  key: string | null;
  failure: {
    readonly error: string;
    readonly hint: string | null;
    readonly internal: boolean;
  } | null;
  /** The id of the failed stage that it waits for in vain. */
  by: string | null;
  /** The seconds that it was expected to take before the run; null if unknown. */
  readonly expected: number | null;
  readonly places: number;
}

export interface RunRecord {
  readonly plan: RunPlan | null;
  readonly stages: readonly StageRecord[];
  indexOf(id: string): number | undefined;
  readonly notes: readonly Note[];
  readonly spec: string;
  readonly process: Partial<Process>;
  readonly created: number | null;
  readonly heard: number | null;
  readonly end: { readonly interrupted: boolean; readonly seconds: number | null } | null;
  /** Stages beyond MOST_STAGES. */
  readonly left: number;
  apply(event: JsonObject): void;
  /** Takes the content of progress.json. */
  progress(stages: unknown): void;
  /** Returns the stages whose status has changed since the last call, as indexes. */
  takeChanged(): number[];
}

const ENDED: ReadonlySet<StageState> = new Set(['ran', 'cached', 'failed', 'blocked', 'abandoned']);

/** Cuts a text from outside to what a page can show. */
const cut = (text: string, most: number): string =>
  text.length > most ? `${text.slice(0, most)}… (cut)` : text;

const textOf = (value: unknown, most = LONGEST_NAME): string | null =>
  typeof value === 'string' ? cut(value, most) : null;
const numberOf = (value: unknown): number | null =>
  typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : null;

export function timeOf(value: unknown): number | null {
  const time = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  return Number.isNaN(time) ? null : time;
}

/** @param plan the run's plan; null for a run that recorded none */
export function createRecord(plan: RunPlan | null): RunRecord {
  const stages = plan === null ? [] : plannedStages(plan);
  const indexes = new Map(stages.map(({ id }, index) => [id, index]));
  const notes: Note[] = [];
  const changed = new Set<number>();
  const later = new Set<string>();
  const known: Pick<Mutable<RunRecord>, 'spec' | 'process' | 'created' | 'heard' | 'end'> = {
    spec: '',
    process: {},
    created: null,
    heard: null,
    end: null,
  };

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
  const settle = (stage: StageRecord, state: StageState): void => {
    if (!ENDED.has(stage.state))
      for (const reader of stage.readers) {
        const waiting = stages[reader];
        if (waiting === undefined) continue;
        waiting.missing--;
        if (waiting.missing > 0 || waiting.state !== 'waiting') continue;
        waiting.state = 'ready';
        changed.add(reader);
      }
    stage.state = state;
  };

  const started = (event: JsonObject): void => {
    const stage = stageOf(event);
    if (stage === null) return;
    stage.state = 'running';
    stage.since = timeOf(event['time']);
    stage.attempts++;
    stage.progress = null;
    stage.failure = null;
    stage.by = null;
  };
  const ended = (event: JsonObject): void => {
    const state = event['state'];
    const stage = stageOf(event);
    if (stage === null || !ENDED.has(state as StageState)) return;
    settle(stage, state as StageState);
    stage.seconds = numberOf(event['seconds']);
    stage.key = typeof event['key'] === 'string' ? event['key'] : null;
    stage.progress = null;
    stage.by = textOf(event['by']);
    stage.failure =
      state === 'failed'
        ? {
            error: textOf(event['error'], LONGEST_TEXT) ?? 'it does not say why',
            hint: textOf(event['hint'], LONGEST_TEXT),
            internal: event['internal'] === true,
          }
        : null;
  };

  return {
    plan,
    stages,
    indexOf: (id) => indexes.get(id),
    notes,
    get spec() {
      return known.spec;
    },
    get process() {
      return known.process;
    },
    get created() {
      return known.created;
    },
    get heard() {
      return known.heard;
    },
    get end() {
      return known.end;
    },
    get left() {
      return later.size;
    },
    apply(event) {
      const at = timeOf(event['time']);
      known.heard = at ?? known.heard;
      // A run that another process goes on with names that process.
      if (typeof event['owner'] === 'string') known.process = processOf(event);
      const { event: name } = event;
      switch (typeof name === 'string' ? name : '') {
        case 'created':
          known.created = at;
          known.spec = textOf(event['spec'], LONGEST_TEXT) ?? '';
          break;
        case 'started':
          known.end = null;
          break;
        case 'stage-started':
          started(event);
          break;
        case 'stage-ended':
          ended(event);
          break;
        case 'note':
          notes.push({ at, text: textOf(event['message'], LONGEST_TEXT) ?? '' });
          if (notes.length > MOST_NOTES) notes.shift();
          break;
        case 'ended':
          known.end = {
            interrupted: event['interrupted'] === true,
            seconds: numberOf(event['seconds']),
          };
          break;
      }
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
      const indexesChanged = [...changed];
      changed.clear();
      return indexesChanged;
    },
  };
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

const processOf = ({ owner, hostname, boot }: JsonObject): Partial<Process> => ({
  ...(typeof owner === 'string' ? { owner } : {}),
  ...(typeof hostname === 'string' ? { hostname } : {}),
  ...(typeof boot === 'string' ? { boot } : {}),
});

function progressOf(value: unknown): StageRecord['progress'] {
  if (!Array.isArray(value)) return null;
  const [done, total, unit] = value as unknown[];
  const [isDone, isTotal] = [numberOf(done), numberOf(total)];
  return isDone === null || isTotal === null ? null : [isDone, isTotal, textOf(unit, 40) ?? ''];
}

function plannedStages(plan: RunPlan): StageRecord[] {
  const stages = plan.stages.slice(0, MOST_STAGES).map((stage): StageRecord => {
    const { id, kind, section, goal, inputs, cached, seconds, places } = stage;
    const name = cut(kind, LONGEST_NAME);
    return {
      id: cut(id, LONGEST_NAME),
      kind: name,
      group: section === undefined ? name : `${name} of ${cut(section, LONGEST_NAME)}`,
      label: cut(stage.label, LONGEST_NAME),
      goal,
      inputs,
      readers: [],
      missing: 0,
      state: cached === undefined ? 'waiting' : 'cached',
      since: null,
      seconds: null,
      attempts: 0,
      progress: null,
      key: cached ?? null,
      failure: null,
      by: null,
      expected: seconds ?? null,
      places,
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

/** A stage that only the journal names. Its label is made of its cell, as far as that is short. */
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
    readers: [],
    missing: 0,
    state: 'waiting',
    since: null,
    seconds: null,
    attempts: 0,
    progress: null,
    key: null,
    failure: null,
    by: null,
    expected: null,
    places: 1,
  };
}
