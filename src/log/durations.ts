/** How long stages took before, for estimates: a moving mean for each kind, and for each kind among the plan's named choices (attack, adapter type). */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { PlannedStage } from '../plan/types.ts';

export interface Durations {
  /** Seconds; null when nothing like it ever ran. */
  expect(stage: PlannedStage): number | null;
  note(stage: PlannedStage, seconds: number): void;
  save(): void;
}

/** Weight of the newest value. */
const NEWEST = 0.3;

const narrow = (stage: PlannedStage): string =>
  [stage.kind, ...Object.entries(stage.cell).filter(([, value]) => typeof value === 'string').sort(([a], [b]) => (a < b ? -1 : 1)).map(([axis, value]) => `${axis}=${String(value)}`)].join(' ');

function read(file: string): { [name: string]: number } {
  if (!existsSync(file)) return {};
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as { [name: string]: number };
  } catch {
    return {}; // an estimate's file, torn by a power cut: it grows again
  }
}

export function openDurations(root: string): Durations {
  const file = path.join(root, 'durations.json');
  const means = read(file);
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
      if (!changed) return;
      const draft = `${file}.${process.pid}`;
      writeFileSync(draft, `${JSON.stringify(means, null, 1)}\n`);
      renameSync(draft, file);
    },
  };
}

/**
 * Seconds for the work of `stages` on `jobs` cores.
 * @param unseen what a stage takes that was never seen; null: then there is no estimate
 */
export function estimate(stages: readonly PlannedStage[], durations: Durations, jobs: number, unseen: number | null = null): number | null {
  let work = 0, longest = 0;
  for (const stage of stages) {
    const seconds = durations.expect(stage) ?? unseen;
    if (seconds === null) return null;
    work += seconds * Math.min(jobs, Math.max(1, stage.resources.cpu));
    longest = Math.max(longest, seconds);
  }
  return Math.max(work / jobs, longest);
}
