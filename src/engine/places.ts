/** The folder of a project's runs, reports and (unless told otherwise) entries: `.dosimeter` where the program was called. */
import path from 'node:path';

export const stateDir = (): string => path.resolve('.dosimeter');
export const runsDir = (): string => path.join(stateDir(), 'runs');
export const reportFile = (experiment: string): string =>
  path.join(stateDir(), 'reports', `${experiment}.html`);
/** Where `report --pdf` puts an experiment's figures. */
export const figuresDir = (experiment: string): string =>
  path.join(stateDir(), 'reports', `${experiment}-figures`);
export const defaultStore = path.join('.dosimeter', 'store');
