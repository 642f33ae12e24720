/** Options that several commands share. */
import { availableParallelism } from 'node:os';
import type { Command } from 'commander';
import { Option } from 'commander';
import { UserFault } from '../api.ts';
import type { Rates } from '../engine/learning-rates.ts';
import { PACK_MOST, packMemoryMB } from '../engine/packing.ts';
import { defaultStore } from '../engine/places.ts';
import type { Asked } from '../engine/prepare.ts';
import type { PackLimits } from '../execute/packer.ts';

export interface SpecOptions extends Asked {
  readonly jobs: number;
  readonly json?: boolean;
}

const gather = (value: string, before: readonly string[]): readonly string[] => [...before, value];

/** `asr,accuracy`; the option may be repeated. */
export const gatherNames = (value: string, before: readonly string[]): readonly string[] => [
  ...before,
  ...value
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== ''),
];

export const wholeNumber =
  (option: string, least = 1) =>
  (value: string): number => {
    const n = value.trim() === '' ? Number.NaN : Number(value);
    if (!Number.isInteger(n) || n < least)
      throw new UserFault(`${option} takes a whole number from ${least}, got "${value}"`);
    return n;
  };

/** `2` for every kind, `train=2` for one; the option may be repeated. */
const perKind =
  (parse: (text: string) => number) =>
  (
    value: string,
    before: { readonly [kind: string]: number } | undefined,
  ): { readonly [kind: string]: number } => {
    const at = value.indexOf('=');
    return { ...before, [at < 0 ? '*' : value.slice(0, at)]: parse(value.slice(at + 1)) };
  };

function seconds(text: string): number {
  const [, n, unit = 's'] = /^(\d+(?:\.\d+)?)\s*(s|m|h)?$/.exec(text) ?? [];
  if (n === undefined)
    throw new UserFault(`--timeout takes a time such as 90s, 30m or 2h, got "${text}"`);
  return Number(n) * { s: 1, m: 60, h: 3600 }[unit as 's' | 'm' | 'h'];
}

function tries(text: string): number {
  if (!/^\d+$/.test(text))
    throw new UserFault(`--retries takes a whole number from 0, got "${text}"`);
  return Number(text);
}

export const retriesOption = (): Option =>
  new Option('--retries <[kind=]n>', 'try a failed stage again; may be repeated').argParser(
    perKind(tries),
  );
export const timeoutOption = (): Option =>
  new Option(
    '--timeout <[kind=]time>',
    'end a stage that runs longer (90s, 30m, 2h); may be repeated',
  ).argParser(perKind(seconds));

/** `1e-5,1e-4` for every adapter, `lora=1e-4,1e-3` for one; the option may be repeated. */
function rates(value: string, before: Rates): Rates {
  const at = value.indexOf('='),
    listed = value
      .slice(at + 1)
      .split(',')
      .map(Number);
  const wrong = value
    .slice(at + 1)
    .split(',')
    .find((_, i) => !(listed[i]! > 0 && listed[i]! < Infinity));
  if (wrong !== undefined)
    throw new UserFault(
      `--rates takes learning rates above 0, got "${wrong}"`,
      'for example --rates 1e-5,1e-4,1e-3, or --rates lora=1e-4,1e-3',
    );
  return { ...before, [at < 0 ? '*' : value.slice(0, at)]: listed };
}

function share(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < 1))
    throw new UserFault(`--share takes a number between 0 and 1, got "${text}"`);
  return value;
}

export const ratesOption = (): Option =>
  new Option(
    '--rates <[adapter=]rates>',
    'rates to try, with commas between (default: half decades, 1e-6 to 3e-4 for full, 1e-5 to 1e-2 for others); may be repeated',
  )
    .argParser(rates)
    .default({}, 'by adapter');
export const seedsOption = (): Option =>
  new Option('--seeds <n>', "how many of the spec's seeds, from its first")
    .argParser(wholeNumber('--seeds'))
    .default(3);
export const shareOption = (): Option =>
  new Option('--share <share>', 'share of the training rows that is held out')
    .argParser(share)
    .default(0.2);

export interface PackOptions {
  readonly pack: number;
  /** Megabytes. */
  readonly packMemory?: number;
}

export const packingOf = ({
  jobs,
  pack,
  packMemory,
}: PackOptions & Pick<SpecOptions, 'jobs'>): PackLimits => ({
  most: pack,
  memoryMB: packMemory ?? packMemoryMB(jobs),
});

export function withPackOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--pack <n>', 'stages that may run as one job at most; 1: each alone')
        .argParser(wholeNumber('--pack'))
        .default(PACK_MOST),
    )
    .addOption(
      new Option(
        '--pack-memory <MB>',
        "memory of such a job at most, by estimate (default: half of the machine's over the cores)",
      ).argParser(wholeNumber('--pack-memory')),
    );
}

export const storeOption = (): Option =>
  new Option('--store <dir>', 'where results are kept').default(defaultStore);
export const jsonOption = (): Option => new Option('--json', 'print facts as JSON');

export function withSpecOptions(command: Command): Command {
  return command
    .addOption(storeOption())
    .addOption(
      new Option('--backend <name>', 'compute backend (default: the best there is)').choices([
        'tensorflow',
        'wasm',
        'cpu',
      ]),
    )
    .addOption(
      new Option('--jobs <n>', 'processor cores to use')
        .argParser(wholeNumber('--jobs'))
        .default(availableParallelism(), 'all'),
    )
    .addOption(
      new Option('--set <path=value>', 'override a field of the spec; may be repeated')
        .argParser(gather)
        .default([], 'none'),
    )
    .addOption(
      new Option(
        '--only <filter>',
        'a tag, or path=value[,value]: only these cells; may be repeated',
      )
        .argParser(gather)
        .default([], 'all'),
    );
}
