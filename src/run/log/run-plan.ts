/**
 * `runs/ID/plan.json`: the stages of a run and what reads what, so that whoever follows the run
 * need not plan it again:
 *
 *     { "name": …, "store": …, "backend": …, "executor": …,
 *       "groups": [{ "kind": "train", "section": null, "goal": true, "places": 2 }, …],
 *       "stages": [[GROUP, ID, LABEL, [INPUT, …], KEY or SECONDS or null], …] }
 *
 * A grid has thousands of stages, so what many have in common is written once, as a group. The
 * reader of the file trusts nothing in it: the folder may be someone else's.
 */
import path from 'node:path';
import type { Json } from '../../api.ts';
import { isRecord } from '../../base/untrusted/json.ts';
import { unseal, writeSealed } from '../../store/sealed.ts';
import type { RunEvent } from './events.ts';

type StageGroup = {
  readonly kind: string;
  /** The section of the spec (`base`, `base.0`); null for the cells themselves. */
  readonly section: string | null;
  /** Whether the spec asks for the stage. */
  readonly goal: boolean;
  /** How many stages like this one may run at once. */
  readonly places: number;
};

export interface RecordedStage extends StageGroup {
  readonly id: string;
  readonly label: string;
  /** The indexes, in the list of all stages, of those that this one reads. */
  readonly inputs: readonly number[];
  /** The key of the entry that was found; null if the stage was to run. */
  readonly cached: string | null;
  /**
   * The seconds that the stage was expected to take; null if it was cached or nothing like it had
   * run.
   */
  readonly seconds: number | null;
}

export interface RunPlan {
  /** The experiment's name. */
  readonly name: string;
  /** The absolute path of the store. */
  readonly store: string;
  readonly backend: string;
  readonly executor: string;
  /** In the plan's order: a stage comes after those that it reads. */
  readonly stages: readonly RecordedStage[];
}

const FORMAT = 2;
export const PLAN_FILE = 'plan.json';

/** Writes PLAN_FILE. Throws the system's error if the disk refuses. */
export function writeRunPlan(dir: string, { stages, ...facts }: RunPlan): void {
  const groups: StageGroup[] = [],
    known = new Map<string, number>();
  const groupOf = ({ kind, section, goal, places }: StageGroup): number => {
    const name = `${kind} ${section ?? ''} ${goal} ${places}`;
    let group = known.get(name);
    if (group === undefined) {
      group = groups.length;
      known.set(name, group);
      groups.push({ kind, section, goal, places });
    }
    return group;
  };
  const rows = stages.map((stage): Json => {
    const { id, label, inputs, cached, seconds } = stage;
    return [groupOf(stage), id, label, inputs, cached ?? seconds];
  });
  writeSealed(path.join(dir, PLAN_FILE), { format: FORMAT, ...facts, groups, stages: rows });
}

/**
 * Reads PLAN_FILE's text. Returns null if the text is damaged, of another format or no plan, or if
 * the plan has more than `mostStages`.
 */
export function parseRunPlan(text: string, mostStages = Infinity): RunPlan | null {
  const found = unseal<unknown>(text.trimEnd());
  if (!isRecord(found) || found['format'] !== FORMAT) return null;
  const { name, store, backend, executor, groups, stages } = found;
  if (![name, store, backend, executor].every((one) => typeof one === 'string')) return null;
  if (!Array.isArray(groups) || !Array.isArray(stages) || stages.length > mostStages) return null;
  const shared = groups.map(parseGroup);
  const parsed = stages.map((stage, index) => parseStage(stage, index, shared));
  return parsed.includes(null)
    ? null
    : ({ name, store, backend, executor, stages: parsed } as RunPlan);
}

/** Returns null if the group is malformed. `places` becomes 1 if it is no positive number. */
function parseGroup(group: unknown): StageGroup | null {
  if (!isRecord(group)) return null;
  const { kind, section, goal, places } = group;
  if (typeof kind !== 'string') return null;
  return {
    kind,
    section: typeof section === 'string' ? section : null,
    goal: goal === true,
    places: isPositive(places) ? places : 1,
  };
}

/** Returns null if the stage is malformed. @param index its place in the list, after its inputs */
function parseStage(
  stage: unknown,
  index: number,
  groups: readonly (StageGroup | null)[],
): RecordedStage | null {
  if (!Array.isArray(stage)) return null;
  const [groupIndex, id, label, inputs, keyOrSeconds] = stage as unknown[];
  const group = typeof groupIndex === 'number' ? groups[groupIndex] : null;
  if (!group || typeof id !== 'string' || typeof label !== 'string') return null;
  if (!Array.isArray(inputs)) return null;
  const before = inputs.filter(
    (input): input is number => Number.isInteger(input) && input >= 0 && input < index,
  );
  if (before.length < inputs.length) return null;
  return {
    ...group,
    id,
    label,
    inputs: before,
    cached: typeof keyOrSeconds === 'string' ? keyOrSeconds : null,
    seconds: isPositive(keyOrSeconds) ? keyOrSeconds : null,
  };
}

const isPositive = (value: unknown): value is number =>
  typeof value === 'number' && Number.isFinite(value) && value > 0;

export const PROGRESS_FILE = 'progress.json';

const WRITE_EVERY_MS = 1000;

/**
 * Returns a function that writes PROGRESS_FILE from events, at most once a second. At the run's
 * end, what is not written yet is dropped.
 * @param write is given the function that writes the file, and has to call it
 */
export function openRunProgress(
  dir: string,
  write: (save: () => void) => void,
): (event: RunEvent) => void {
  const stages = new Map<string, Json>(),
    places = new Map<string, Json>();
  let last = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | null = null;
  const save = (): void => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    last = performance.now();
    write(() =>
      writeSealed(path.join(dir, PROGRESS_FILE), {
        stages: Object.fromEntries(stages),
        places: Object.fromEntries(places),
      }),
    );
  };
  /**
   * Writes the file now or, if that was done less than WRITE_EVERY_MS ago, once that time is over.
   */
  const saveSoon = (): void => {
    const left = last + WRITE_EVERY_MS - performance.now();
    if (left <= 0) save();
    else timer ??= setTimeout(save, left).unref();
  };
  return (event) => {
    switch (event.type) {
      case 'stage-progress':
        stages.set(event.stage.id, [event.done, event.total, event.unit]);
        saveSoon();
        break;
      case 'stage-place':
        places.set(event.stage.id, [event.place.job, event.place.node, event.place.waits]);
        saveSoon();
        break;
      case 'stage-ended':
        stages.delete(event.stage.id);
        places.delete(event.stage.id);
        break;
      case 'run-ended':
        if (timer !== null) clearTimeout(timer);
        timer = null;
        break;
      case 'run-started':
      case 'stage-started':
      case 'note':
        break;
    }
  };
}
