/**
 * What a run's plan, journal and progress say about its stages. The files are not trusted: what
 * differs from what a run writes is left out, and everything that is kept has a limit.
 */
import { isDeepStrictEqual } from 'node:util';
import type { JsonObject } from '../api.ts';
import type { RunPlan } from '../run/log/run-plan.ts';
import type { Process } from '../store/owner.ts';
import type { Note, Place, StageState } from './wire.ts';

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
  /** The indexes of the stages that this stage reads, and of those that read it. */
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
  /** The id of the failed stage that blocks this one; null if none does. */
  by: string | null;
  /** The seconds that the stage was expected to take before the run; null if unknown. */
  readonly expected: number | null;
  /** How many stages like this one may run at once. */
  readonly places: number;
}

const ENDED: ReadonlySet<StageState> = new Set(['ran', 'cached', 'failed', 'blocked', 'abandoned']);

/** Returns a text; if it is longer than `most` characters, its beginning and `… (cut)`. */
const cut = (text: string, most: number): string =>
  text.length > most ? `${text.slice(0, most)}… (cut)` : text;

/** Returns a text, cut to a length; null for any other value. */
const parseText = (value: unknown, most = LONGEST_NAME): string | null =>
  typeof value === 'string' ? cut(value, most) : null;
/** Returns a finite number of at least 0; null for any other value. */
const parseNumber = (value: unknown): number | null =>
  typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : null;

/** Returns the time in a text, in ms since 1970; null for any other value. */
function parseTime(value: unknown): number | null {
  const time = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  return Number.isNaN(time) ? null : time;
}

/** Returns [done, total, unit]; null for anything else. A unit that is no text becomes ''. */
function parseProgress(value: unknown): StageRecord['progress'] {
  if (!Array.isArray(value)) return null;
  const [done, total, unit] = value as unknown[];
  const [doneCount, totalCount] = [parseNumber(done), parseNumber(total)];
  if (doneCount === null || totalCount === null) return null;
  return [doneCount, totalCount, parseText(unit, 40) ?? ''];
}

/**
 * Returns the place in [job, node, waits]; null if there is no job. What is no text becomes null.
 */
function parsePlace(value: unknown): Place | null {
  if (!Array.isArray(value)) return null;
  const [job, node, waits] = (value as unknown[]).map((text) => parseText(text, 100));
  return job === null || job === undefined
    ? null
    : { job, node: node ?? null, waits: waits ?? null };
}

/** Returns the fields of a stage that events change, as they are before any event. */
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
  const name = parseText(kind) ?? id.replace(/-[0-9a-f]+$/, '');
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

/** A run: first as its plan describes it, then as the events of its journal have changed it. */
export class RunRecord {
  readonly stages: StageRecord[];
  readonly notes: Note[] = [];
  spec = '';
  process: Partial<Process> = {};
  /** What the heartbeat says of a process on another machine; null if that is not known yet. */
  pulse: 'beating' | 'silent' | null = null;
  /** When the run was created and when its latest event came, in ms since 1970. */
  created: number | null = null;
  heard: number | null = null;
  end: { readonly interrupted: boolean; readonly seconds: number | null } | null = null;
  readonly #indexes: Map<string, number>;
  /** The stages whose status has changed since the last `takeChanged`, as indexes. */
  readonly #changed = new Set<number>();
  /** The ids of stages beyond MOST_STAGES. */
  readonly #later = new Set<string>();

  /** @param plan null for a run that recorded none */
  constructor(readonly plan: RunPlan | null) {
    this.stages = plan === null ? [] : plannedStages(plan);
    this.#indexes = new Map(this.stages.map(({ id }, index) => [id, index]));
  }

  /** Returns the index in `stages` of the stage with this id; undefined if there is none. */
  indexOf(id: string): number | undefined {
    return this.#indexes.get(id);
  }

  /** Returns how many stages are left out because there are more than MOST_STAGES. */
  left(): number {
    return this.#later.size;
  }

  /** Returns the stages whose status has changed since the last call, as indexes. */
  takeChanged(): number[] {
    const taken = [...this.#changed];
    this.#changed.clear();
    return taken;
  }

  /**
   * Applies an event of the journal. An event of an unknown kind changes only `heard` and, if it
   * names an owner, `process`.
   */
  apply(event: JsonObject): void {
    const at = parseTime(event['time']);
    this.heard = at ?? this.heard;
    // The event `created` names the run's process. A later event could name another one.
    if (typeof event['owner'] === 'string') this.process = parseProcess(event);
    switch (parseText(event['event']) ?? '') {
      case 'created':
        this.created = at;
        this.spec = parseText(event['spec'], LONGEST_TEXT) ?? '';
        break;
      case 'started':
        this.end = null;
        break;
      case 'stage-started':
        this.#start(event);
        break;
      case 'stage-ended':
        this.#end(event);
        break;
      case 'note':
        this.notes.push({ at, text: parseText(event['message'], LONGEST_TEXT) ?? '' });
        if (this.notes.length > MOST_NOTES) this.notes.shift();
        break;
      case 'ended':
        this.end = {
          interrupted: event['interrupted'] === true,
          seconds: parseNumber(event['seconds']),
        };
        break;
    }
  }

  /** Applies `stages` of progress.json. */
  progress(found: unknown): void {
    this.#set('progress', found, parseProgress);
  }

  /** Applies `places` of progress.json. */
  places(found: unknown): void {
    this.#set('place', found, parsePlace);
  }

  /**
   * Sets a field of the running stages that `found` names. Where `parse` returns null, nothing
   * changes.
   */
  #set<Field extends 'progress' | 'place'>(
    field: Field,
    found: unknown,
    parse: (value: unknown) => StageRecord[Field],
  ): void {
    if (typeof found !== 'object' || found === null) return;
    for (const [id, value] of Object.entries(found)) {
      const index = this.#indexes.get(id) ?? -1,
        stage = this.stages[index];
      if (stage?.state !== 'running') continue;
      const parsed = parse(value);
      if (parsed === null || isDeepStrictEqual(parsed, stage[field])) continue;
      stage[field] = parsed;
      this.#changed.add(index);
    }
  }

  /**
   * Returns the stage that an event names, and marks it as changed. Adds a stage that the plan
   * lacks or, if there are MOST_STAGES already, counts it as left out (`#later`) and returns null.
   * Null also if the event has no usable name of a stage.
   */
  #touchStage(event: JsonObject): StageRecord | null {
    const id = event['stage'];
    if (typeof id !== 'string' || id.length > LONGEST_NAME) return null;
    let index = this.#indexes.get(id);
    if (index === undefined) {
      index = this.stages.length;
      if (index >= MOST_STAGES) {
        if (this.#later.size < MOST_STAGES) this.#later.add(id);
        return null;
      }
      this.#indexes.set(id, index);
      this.stages.push(unplannedStage(id, event));
    }
    this.#changed.add(index);
    return this.stages[index] ?? null;
  }

  /**
   * Applies `stage-started`: the stage runs, and the progress, place and failure of its last
   * attempt are forgotten.
   */
  #start(event: JsonObject): void {
    const stage = this.#touchStage(event);
    if (stage === null) return;
    stage.state = 'running';
    stage.since = parseTime(event['time']);
    stage.attempts++;
    stage.progress = null;
    stage.place = null;
    stage.failure = null;
    stage.by = null;
  }

  /**
   * Applies `stage-ended`; nothing changes if the event names no state in which a stage has ended.
   */
  #end(event: JsonObject): void {
    const state = event['state'] as StageState;
    const stage = ENDED.has(state) ? this.#touchStage(event) : null;
    if (stage === null) return;
    this.#tellReaders(stage);
    stage.state = state;
    stage.seconds = parseNumber(event['seconds']);
    stage.key = typeof event['key'] === 'string' ? event['key'] : null;
    stage.progress = null;
    stage.place = null;
    stage.by = parseText(event['by']);
    stage.failure = state === 'failed' ? parseFailure(event) : null;
  }

  /** Lowers `missing` of the stages that read an ended stage. Those that reach 0 become ready. */
  #tellReaders(stage: StageRecord): void {
    if (stage.hasEnded) return;
    stage.hasEnded = true;
    for (const reader of stage.readers) {
      const waiting = this.stages[reader];
      if (waiting === undefined) continue;
      waiting.missing--;
      if (waiting.missing > 0 || waiting.state !== 'waiting') continue;
      waiting.state = 'ready';
      this.#changed.add(reader);
    }
  }
}

const parseFailure = ({ error, hint, internal }: JsonObject): StageRecord['failure'] => ({
  error: parseText(error, LONGEST_TEXT) ?? 'it does not say why',
  hint: parseText(hint, LONGEST_TEXT),
  internal: internal === true,
});

const parseProcess = ({ owner, hostname, boot }: JsonObject): Partial<Process> => ({
  ...(typeof owner === 'string' ? { owner } : {}),
  ...(typeof hostname === 'string' ? { hostname } : {}),
  ...(typeof boot === 'string' ? { boot } : {}),
});
