/** The folder of a project's runs, reports and (unless told otherwise) entries: `.dosimeter` where the program was called. */
import path from 'node:path';

export const stateDir = (): string => path.resolve('.dosimeter');
export const runsDir = (): string => path.join(stateDir(), 'runs');
export const reportsDir = (): string => path.join(stateDir(), 'reports');
export const defaultStore = path.join('.dosimeter', 'store');

export interface RunsToKeep {
  /** So many of the latest stay. */
  readonly latest: number;
  /** So does what is younger than this, in days. */
  readonly days: number;
}

/** What `gc --runs` keeps unless told otherwise; both hold. */
export const RUNS_KEPT: RunsToKeep = { latest: 20, days: 30 };
