/** `.dosimeter` in the working folder: a project's runs, its reports and, by default, its store. */
import path from 'node:path';

export const stateDir = (): string => path.resolve('.dosimeter');
export const runsDir = (): string => path.join(stateDir(), 'runs');
export const reportsDir = (): string => path.join(stateDir(), 'reports');
export const defaultStore = path.join('.dosimeter', 'store');

export interface RunsToKeep {
  readonly latest: number;
  /** Younger runs are kept too. */
  readonly days: number;
}

/** By default, `gc --runs` keeps runs that are among the latest or young. */
export const RUNS_KEPT: RunsToKeep = { latest: 20, days: 30 };
