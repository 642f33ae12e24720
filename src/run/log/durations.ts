/**
 * Remembers how long stages have taken, and how large their outputs are, for estimates. Keeps a
 * moving mean for each stage kind, and for each kind with the same named choices (attack, adapter
 * type). For stages that say how much they have to do (`work`), it keeps two means: the seconds of
 * one unit of work, and the seconds before the work begins. Each unit of work has its own means
 * and, for stages that compute, so has each backend.
 */
import path from 'node:path';
import type { BackendName } from '../../api.ts';
import { memoized } from '../../base/memoized.ts';
import { sha256 } from '../../base/sha256.ts';
import type { PlannedStage, StageId } from '../../plan/types.ts';
import { readSealed, writeSealed } from '../../store/sealed.ts';

export type Durations = ReturnType<typeof openDurations>;

/** How much of a running stage's work was done, and when (`at`, in seconds). */
interface Seen {
  readonly done: number;
  readonly at: number;
}

/** The weight of the newest value in a moving mean. */
const NEWEST_WEIGHT = 0.3;

/** Returns the name of the means for a kind with given choices: `train adapter.type=lora …`. */
const kindAndChoices = (stage: PlannedStage): string =>
  [
    stage.kind,
    ...Object.entries(stage.cell)
      .filter((entry): entry is [string, string] => typeof entry[1] === 'string')
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([axis, value]) => `${axis}=${value}`),
  ].join(' ');

/**
 * Opens the record in a store.
 * @param backend the one that stages compute with
 * @param tell called if the record is damaged, and begun anew
 */
export function openDurations(
  root: string,
  backend: BackendName,
  tell: (message: string) => void = () => undefined,
) {
  const file = path.join(root, 'durations.json');
  type Means = { [name: string]: number };
  const found = readSealed<{
    readonly means: Means;
    readonly starts?: Means;
    readonly bytes?: Means;
  }>(file, {
    means: 'object',
  });
  if (found === 'damaged') tell(`${file} was damaged: how long stages take is learnt anew`);
  const known = found === null || found === 'damaged' ? null : found;
  const means = { ...known?.means },
    starts = { ...known?.starts },
    sizes = { ...known?.bytes };
  let changed = false;
  // Remembered, because each estimate asks for the name of every stage that is left.
  const nameOf = memoized(kindAndChoices);
  /**
   * Returns the suffix of the names of a stage's mean seconds, so that each backend and each unit
   * of work has its own.
   */
  const unitOf = memoized(
    ({ descriptor, work }: PlannedStage): string =>
      (descriptor.compute ? ` on ${backend}` : '') +
      (work === undefined ? '' : ` of ${sha256(work.of).slice(0, 16)}`),
  );
  /**
   * Returns the mean for stages with the same choices as this one or, if there is none, the mean
   * for its kind; null if there is neither.
   * @param unit what `unitOf` returns, for means by unit of work
   */
  const expectIn = (values: Means, stage: PlannedStage, unit = ''): number | null =>
    values[nameOf(stage) + unit] ?? values[stage.kind + unit] ?? null;
  const update = (values: Means, stage: PlannedStage, value: number, unit = ''): void => {
    for (const name of new Set([stage.kind + unit, nameOf(stage) + unit])) {
      const before = values[name];
      values[name] = before === undefined ? value : before + NEWEST_WEIGHT * (value - before);
    }
  };
  /** The first and the latest progress of running stages. */
  const seen = new Map<StageId, { first: Seen; last: Seen; total: number }>();
  /**
   * Returns the seconds that passed before a stage's work began, estimated from its progress; 0 if
   * too little progress was noted. Forgets the progress.
   */
  const takeStart = ({ id }: PlannedStage, seconds: number): number => {
    const { first, last, total } = seen.get(id) ?? {};
    seen.delete(id);
    if (!first || !last || !total || last.done <= first.done) return 0;
    const pace = (last.at - first.at) / (last.done - first.done);
    return Math.max(0, seconds - pace * total);
  };
  /** Returns how many units of work a stage has to do; 1 if it does not say. */
  const amountOf = ({ work }: PlannedStage): number => work?.amount ?? 1;
  return {
    /** Returns the seconds that a stage will take; null if nothing like it has ever run. */
    expect(stage: PlannedStage): number | null {
      const seconds = expectIn(means, stage, unitOf(stage));
      return seconds === null
        ? null
        : (expectIn(starts, stage, unitOf(stage)) ?? 0) + seconds * amountOf(stage);
    },
    /** Returns the bytes of a stage's outputs; null if nothing like it has ever run. */
    expectBytes: (stage: PlannedStage): number | null => expectIn(sizes, stage),
    /** Notes a running stage's progress. @param at the time in seconds, by any clock */
    progress({ id, work }: PlannedStage, done: number, total: number, at: number): void {
      if (work === undefined) return;
      const before = seen.get(id),
        last = { done, at };
      // A stage that is attempted again begins anew.
      const first = before !== undefined && done > before.last.done ? before.first : last;
      seen.set(id, { first, last, total });
    },
    /** Adds to the means a stage that has run. */
    note(stage: PlannedStage, seconds: number, bytes?: number): void {
      changed = true;
      const start = takeStart(stage, seconds);
      if (stage.work !== undefined) update(starts, stage, start, unitOf(stage));
      update(means, stage, (seconds - start) / amountOf(stage), unitOf(stage));
      if (bytes !== undefined) update(sizes, stage, bytes);
    },
    /** Writes the record, if a stage was added since it was opened. */
    save(): void {
      if (changed) writeSealed(file, { means, starts, bytes: sizes });
    },
  };
}

/**
 * Returns how many seconds pass until all stages have run, as many at once as `places` allows. This
 * is at least the time of the longest stage. Null if a stage's time is unknown and `unseen` is
 * null.
 * @param places how many stages like the given one may run at once
 * @param unseen the seconds to assume for a stage whose time is unknown
 */
export function estimate(
  stages: Iterable<PlannedStage>,
  durations: Pick<Durations, 'expect'>,
  places: (stage: PlannedStage) => number,
  unseen: number | null = null,
): number | null {
  let work = 0,
    longest = 0;
  for (const stage of stages) {
    const seconds = durations.expect(stage) ?? unseen;
    if (seconds === null) return null;
    work += seconds / places(stage);
    longest = Math.max(longest, seconds);
  }
  return Math.max(work, longest);
}
