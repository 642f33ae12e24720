/** The folder of a project's runs, reports and (unless told otherwise) entries: `.dosimeter` where the program was called. */
import path from 'node:path';

export const stateDir = (): string => path.resolve('.dosimeter');
export const runsDir = (): string => path.join(stateDir(), 'runs');
export const reportsDir = (): string => path.join(stateDir(), 'reports');
export const defaultStore = path.join('.dosimeter', 'store');
