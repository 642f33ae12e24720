/** `.dosimeter` in the working folder: a project's runs, its reports and, by default, its store. */
import path from 'node:path';

export const stateDir = (): string => path.resolve('.dosimeter');
export const runsDir = (): string => path.join(stateDir(), 'runs');
export const reportsDir = (): string => path.join(stateDir(), 'reports');
export const defaultStore = path.join('.dosimeter', 'store');

export interface RunsToKeep {
  /** The number of latest runs that are kept. */
  readonly latest: number;
  /** Runs younger than this many days are kept too. */
  readonly days: number;
}

/** `gc --runs` keeps by default the runs that are among the latest or younger than `days`. */
export const RUNS_KEPT: RunsToKeep = { latest: 20, days: 30 };
