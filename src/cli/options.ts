/** Options that several commands share. */
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import { UserFault } from '../api.ts';
import type { BackendName } from '../api.ts';

export interface SpecOptions {
  readonly store: string;
  readonly backend?: BackendName;
  readonly jobs: number;
  readonly set: readonly string[];
  readonly only: readonly string[];
  readonly json?: boolean;
}

const gather = (value: string, before: readonly string[]): readonly string[] => [...before, value];

function wholeNumber(value: string): number {
  const n = Number(value);
  if (!Number.isInteger(n) || n < 1) throw new UserFault(`--jobs takes a whole number from 1, got "${value}"`);
  return n;
}

/** The folder of this project's runs, reports and (unless --store) entries. */
export const stateDir = (): string => path.resolve('.dosimeter');
export const runsDir = (): string => path.join(stateDir(), 'runs');
export const reportFile = (experiment: string): string => path.join(stateDir(), 'reports', `${experiment}.html`);

export const storeOption = (): Option => new Option('--store <dir>', 'where results are kept').default(path.join('.dosimeter', 'store'));
export const jsonOption = (): Option => new Option('--json', 'print facts as JSON');

export function withSpecOptions(command: Command): Command {
  return command
    .addOption(storeOption())
    .addOption(new Option('--backend <name>', 'compute backend (default: the best there is)').choices(['tensorflow', 'wasm', 'cpu']))
    .addOption(new Option('--jobs <n>', 'processor cores to use').argParser(wholeNumber).default(availableParallelism(), 'all'))
    .addOption(new Option('--set <path=value>', 'override a field of the spec; may be repeated').argParser(gather).default([], 'none'))
    .addOption(new Option('--only <filter>', 'a tag, or path=value[,value]: only these cells; may be repeated').argParser(gather).default([], 'all'));
}
