/** `.dosimeter` in the working folder: a project's runs, its reports and, by default, its store. */
import path from 'node:path';

export const stateDir = (): string => path.resolve('.dosimeter');
export const runsDir = (): string => path.join(stateDir(), 'runs');
export const reportsDir = (): string => path.join(stateDir(), 'reports');
export const defaultStore = path.join('.dosimeter', 'store');

export interface RunsToKeep {
  /** How many of the newest runs are kept. */
  readonly latest: number;
  /** Runs that were written to in this many last days are kept too. */
  readonly days: number;
}

/** What `gc --runs` keeps by default. */
export const RUNS_KEPT: RunsToKeep = { latest: 20, days: 30 };
