/**
 * Remembers how long stages have taken, for estimates. There is a moving mean for each kind, and
 * for each kind with given named choices (attack, adapter type).
 */
import path from 'node:path';
import type { PlannedStage } from '../plan/types.ts';
import { readSealed, writeSealed } from '../store/sealed.ts';

export interface Durations {
  /** Returns the seconds that the stage will take, or null if nothing like it has ever run. */
  expect(stage: PlannedStage): number | null;
  note(stage: PlannedStage, seconds: number): void;
  save(): void;
}

/** The weight of the newest duration in a mean. */
const NEWEST = 0.3;

/** Returns the name of a mean: the kind with the stage's named choices. */
const nameOf = (stage: PlannedStage): string =>
  [
    stage.kind,
    ...Object.entries(stage.cell)
      .filter((entry): entry is [string, string] => typeof entry[1] === 'string')
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([axis, value]) => `${axis}=${value}`),
  ].join(' ');

/** @param tell is called if the file is damaged; the estimates then start from nothing */
export function openDurations(
  root: string,
  tell: (message: string) => void = () => undefined,
): Durations {
  const file = path.join(root, 'durations.json');
  const found = readSealed<{ readonly means: { readonly [name: string]: number } }>(file, {
    means: 'object',
  });
  if (found === 'damaged') tell(`${file} was damaged: how long stages take is learnt anew`);
  const means: { [name: string]: number } =
    found === null || found === 'damaged' ? {} : { ...found.value.means };
  let changed = false;
  /** Names by stage, because each estimate asks for the name of every stage that is left. */
  const names = new WeakMap<PlannedStage, string>();
  const knownNameOf = (stage: PlannedStage): string => {
    let name = names.get(stage);
    if (name === undefined) names.set(stage, (name = nameOf(stage)));
    return name;
  };
  const update = (name: string, seconds: number): void => {
    const before = means[name];
    means[name] = before === undefined ? seconds : before + NEWEST * (seconds - before);
  };
  return {
    expect: (stage) => means[knownNameOf(stage)] ?? means[stage.kind] ?? null,
    note(stage, seconds) {
      changed = true;
      update(stage.kind, seconds);
      const name = knownNameOf(stage);
      if (name !== stage.kind) update(name, seconds);
    },
    save() {
      if (changed) writeSealed(file, { means });
    },
  };
}

/**
 * Returns the seconds that these stages will take together, or null if there is no estimate.
 * @param places returns how many stages like the given one may run at once
 * @param unseen the seconds to assume for a stage unlike any before; if null, one such stage makes
 *   the estimate null
 */
export function estimate(
  stages: Iterable<PlannedStage>,
  durations: Durations,
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
