/** `.dosimeter` in the working folder: a project's runs, its reports and, by default, its store. */
import path from 'node:path';

export const stateDir = (): string => path.resolve('.dosimeter');
export const runsDir = (): string => path.join(stateDir(), 'runs');
export const reportsDir = (): string => path.join(stateDir(), 'reports');
export const defaultStore = path.join('.dosimeter', 'store');

export interface RunsToKeep {
  /** This many of the latest runs stay. */
  readonly latest: number;
  /** Runs younger than this many days stay too. */
  readonly days: number;
}

/** What `gc --runs` keeps by default: runs that meet either condition. */
export const RUNS_KEPT: RunsToKeep = { latest: 20, days: 30 };
