/** The stages of a run in their first state: those of its plan, and those that only events name. */
import type { JsonObject } from '../api.ts';
import type { RunPlan } from '../run/log/run-plan.ts';
import type { Place, StageState } from './wire.ts';

/** How many stages of a run are followed at most. */
export const MOST_STAGES = 100_000;
/** How many characters of a name, and of any other text, are kept at most. */
export const LONGEST_NAME = 300,
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
  /** How many of the stages that it reads have not ended. */
  missing: number;
  state: StageState;
  /** Whether it has ended once, so that its readers no longer count it as missing. */
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

export const ENDED: ReadonlySet<StageState> = new Set([
  'ran',
  'cached',
  'failed',
  'blocked',
  'abandoned',
]);

/** Cuts a text from outside to what a page can show. */
const cut = (text: string, most: number): string =>
  text.length > most ? `${text.slice(0, most)}… (cut)` : text;

export const textOf = (value: unknown, most = LONGEST_NAME): string | null =>
  typeof value === 'string' ? cut(value, most) : null;
export const numberOf = (value: unknown): number | null =>
  typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : null;

export function timeOf(value: unknown): number | null {
  const time = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  return Number.isNaN(time) ? null : time;
}

export function progressOf(value: unknown): StageRecord['progress'] {
  if (!Array.isArray(value)) return null;
  const [done, total, unit] = value as unknown[];
  const [isDone, isTotal] = [numberOf(done), numberOf(total)];
  return isDone === null || isTotal === null ? null : [isDone, isTotal, textOf(unit, 40) ?? ''];
}

export function placeOf(value: unknown): Place | null {
  if (!Array.isArray(value)) return null;
  const [job, node, waits] = (value as unknown[]).map((text) => textOf(text, 100));
  return job === null || job === undefined
    ? null
    : { job, node: node ?? null, waits: waits ?? null };
}

export function plannedStages(plan: RunPlan): StageRecord[] {
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
      readers: [],
      missing: 0,
      hasEnded: cached !== null,
      state: cached === null ? 'waiting' : 'cached',
      since: null,
      seconds: null,
      attempts: 0,
      progress: null,
      place: null,
      key: cached,
      failure: null,
      by: null,
      expected: seconds,
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

/** Returns a stage that only the journal names. Its label shows its cell, cut to a length. */
export function unplannedStage(id: string, { kind, cell, seed }: JsonObject): StageRecord {
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
    hasEnded: false,
    state: 'waiting',
    since: null,
    seconds: null,
    attempts: 0,
    progress: null,
    place: null,
    key: null,
    failure: null,
    by: null,
    expected: null,
    places: 1,
  };
}
