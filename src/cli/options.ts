/** Options that several commands share. */
import { availableParallelism } from 'node:os';
import { Option } from 'commander';
import type { Command } from 'commander';
import { UserFault } from '../api.ts';
import type { Asked } from '../engine/prepare.ts';
import { defaultStore } from '../engine/places.ts';

export interface SpecOptions extends Asked {
  readonly jobs: number;
  readonly json?: boolean;
}

const gather = (value: string, before: readonly string[]): readonly string[] => [...before, value];

function wholeNumber(value: string): number {
  const n = Number(value);
  if (!Number.isInteger(n) || n < 1) throw new UserFault(`--jobs takes a whole number from 1, got "${value}"`);
  return n;
}

export const storeOption = (): Option => new Option('--store <dir>', 'where results are kept').default(defaultStore);
export const jsonOption = (): Option => new Option('--json', 'print facts as JSON');

export function withSpecOptions(command: Command): Command {
  return command
    .addOption(storeOption())
    .addOption(new Option('--backend <name>', 'compute backend (default: the best there is)').choices(['tensorflow', 'wasm', 'cpu']))
    .addOption(new Option('--jobs <n>', 'processor cores to use').argParser(wholeNumber).default(availableParallelism(), 'all'))
    .addOption(new Option('--set <path=value>', 'override a field of the spec; may be repeated').argParser(gather).default([], 'none'))
    .addOption(new Option('--only <filter>', 'a tag, or path=value[,value]: only these cells; may be repeated').argParser(gather).default([], 'all'));
}
