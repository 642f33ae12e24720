/** How long stages took before, for estimates: a moving mean for each kind, and for each kind among the plan's named choices (attack, adapter type). */
import path from 'node:path';
import type { PlannedStage } from '../plan/types.ts';
import { readSealed, writeSealed } from '../store/sealed.ts';

export interface Durations {
  /** Seconds; null when nothing like it ever ran. */
  expect(stage: PlannedStage): number | null;
  note(stage: PlannedStage, seconds: number): void;
  save(): void;
}

/** Weight of the newest value. */
const NEWEST = 0.3;

const narrow = (stage: PlannedStage): string =>
  [
    stage.kind,
    ...Object.entries(stage.cell)
      .filter(([, value]) => typeof value === 'string')
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([axis, value]) => `${axis}=${String(value)}`),
  ].join(' ');

/** @param tell of a damaged file; the estimates then grow anew */
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
  const update = (name: string, seconds: number): void => {
    const before = means[name];
    means[name] = before === undefined ? seconds : before + NEWEST * (seconds - before);
  };
  return {
    expect: (stage) => means[narrow(stage)] ?? means[stage.kind] ?? null,
    note(stage, seconds) {
      changed = true;
      update(stage.kind, seconds);
      const name = narrow(stage);
      if (name !== stage.kind) update(name, seconds);
    },
    save() {
      if (changed) writeSealed(file, { means });
    },
  };
}

/**
 * Seconds for the work of `stages`.
 * @param places how many stages like this one may run at once
 * @param unseen what a stage takes that was never seen; null: then there is no estimate
 */
export function estimate(
  stages: readonly PlannedStage[],
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
