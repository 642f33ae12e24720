/** Options that several commands share, and the functions that read their values. */
import { availableParallelism } from 'node:os';
import { type Command, Option } from 'commander';
import { UserFault } from '../api.ts';
import { ATTEMPT_LIMIT_OPTIONS, DEFAULT_PACK } from '../run/execute/attempt-limits.ts';
import type { Rates } from '../run/learning-rates.ts';
import type { Asked } from '../run/prepare.ts';
import { defaultStore } from '../run/state-folder.ts';

/**
 * Turns a function that imports a command into an action, so that a start loads no other command's
 * code. The command returns the exit code.
 */
export type Lazily = <Args extends unknown[]>(
  load: () => Promise<(...args: Args) => number | Promise<number>>,
) => (...args: Args) => Promise<void>;

/** By name of a command: a function that adds it, with its options, to the program. */
export type Commands = { readonly [name: string]: (program: Command, lazily: Lazily) => void };

export interface SpecOptions extends Asked {
  readonly jobs: number;
  readonly json?: boolean;
}

/** Commander's parser of an option that may be repeated: adds a value to those given before. */
export const gatherValues = (value: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  value,
];

/** Reads a list of names: `asr,accuracy`. */
export const namesIn = (value: string): readonly string[] =>
  value
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');

export const gatherNames = (value: string, before: readonly string[]): readonly string[] => [
  ...before,
  ...namesIn(value),
];

/**
 * Returns the parser of an option that takes a number. It throws `UserFault` if the number does not
 * pass.
 * @param what what the option takes, as the fault says it
 */
const numberParser =
  (option: string, what: string, passes: (value: number) => boolean) =>
  (text: string): number => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (!passes(value)) throw new UserFault(`${option} takes ${what}, got "${text}"`);
    return value;
  };

type NumberParser = ReturnType<typeof numberParser>;
export const wholeNumber = (option: string, least = 1): NumberParser =>
  numberParser(
    option,
    `a whole number of at least ${least}`,
    (value) => Number.isInteger(value) && value >= least,
  );
const isAboveZero = (value: number): boolean => value > 0 && value < Infinity;
export const aboveZero = (option: string): NumberParser =>
  numberParser(option, 'a number above 0', isAboveZero);
export const betweenZeroAndOne = (option: string): NumberParser =>
  numberParser(option, 'a number between 0 and 1', (value) => value > 0 && value < 1);

/** Reads `NAME=VALUE`. A value without a name holds for every name and gets the name `*`. */
function namedValue(text: string): readonly [name: string, value: string] {
  const at = text.indexOf('=');
  return at < 0 ? ['*', text] : [text.slice(0, at), text.slice(at + 1)];
}

type ByKind = { readonly [kind: string]: number };

/**
 * Returns the parser of an option that takes `2`, for every stage kind, or `train=2`, for one kind.
 * The option may be repeated.
 */
const perKind =
  (parse: (text: string) => number) =>
  (text: string, before: ByKind | undefined): ByKind => {
    const [kind, value] = namedValue(text);
    return { ...before, [kind]: parse(value) };
  };

/** Returns the flag whose value commander calls `name`: `--fail-fast` for `failFast`. */
export const toFlag = (name: string): string =>
  `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

export function withAttemptLimits(command: Command): Command {
  for (const [name, option] of Object.entries(ATTEMPT_LIMIT_OPTIONS)) {
    const flag = toFlag(name);
    command.addOption(
      new Option(`${flag} ${option.placeholder}`, option.summary).argParser(
        perKind((text) => {
          const value = option.parse(text);
          if (value === null) throw new UserFault(`${flag} takes ${option.format}, got "${text}"`);
          return value;
        }),
      ),
    );
  }
  return command;
}

/** Reads `1e-5,1e-4` for every adapter, or `lora=1e-4,1e-3` for one. The option may be repeated. */
function gatherRates(text: string, before: Rates): Rates {
  const [adapter, value] = namedValue(text);
  const listed = value.split(',');
  const wrong = listed.find((rate) => !isAboveZero(Number(rate)));
  if (wrong !== undefined)
    throw new UserFault(
      `--rates takes learning rates above 0, got "${wrong}"`,
      'for example --rates 1e-5,1e-4,1e-3, or --rates lora=1e-4,1e-3',
    );
  return { ...before, [adapter]: listed.map(Number) };
}

export const ratesOption = (): Option =>
  new Option(
    '--rates <[adapter=]rates>',
    'rates to try, separated by commas (default: half decades, 1e-6 to 3e-4 for full, ' +
      '1e-5 to 1e-2 for others); may be repeated',
  )
    .argParser(gatherRates)
    .default({}, 'by adapter');

export interface PackOptions {
  readonly pack?: number;
}

export const packOption = (): Option =>
  new Option(
    '--pack <n>',
    'how many trainings may share a job of a scheduler, one after another (default: ' +
      `${DEFAULT_PACK}), or, under the backend torch, their steps in one process (default: 1)`,
  ).argParser(wholeNumber('--pack'));

/** Returns the command `name` on a spec as a user would type it. */
export const commandOf = (
  name: string,
  spec: string,
  { backend, profile }: Pick<SpecOptions, 'backend' | 'profile'>,
): string =>
  `dosimeter ${name} ${spec}` +
  (profile === undefined ? '' : ` --profile ${profile}`) +
  (backend === undefined ? '' : ` --backend ${backend}`);

export const runCommandOf = (
  spec: string,
  options: Pick<SpecOptions, 'backend' | 'profile'>,
): string => commandOf('run', spec, options);

export const storeOption = (): Option =>
  new Option('--store <dir>', 'the folder that results are kept in').default(defaultStore);
export const remoteOption = (): Option =>
  new Option(
    '--remote <uri>',
    'a store elsewhere, file:FOLDER or s3://BUCKET/PREFIX: entries that the store lacks are ' +
      'fetched from there',
  ).env('DOSIMETER_REMOTE');
export const jsonOption = (): Option => new Option('--json', 'print JSON');

/** Adds a command on specs or their results, with the options that all such commands have. */
export const specCommand = (program: Command, usage: string, summary: string): Command =>
  program
    .command(usage)
    .description(summary)
    .addOption(storeOption())
    .addOption(
      new Option(
        '--backend <name>',
        'the compute backend (default: the best that this machine has)',
      ).choices(['tensorflow', 'wasm', 'cpu', 'torch']),
    )
    .addOption(
      new Option('--jobs <n>', 'processor cores to use')
        .argParser(wholeNumber('--jobs'))
        .default(availableParallelism(), 'all'),
    )
    .option('--profile <name>', "merge one of the spec's `profiles` over it (default: none)")
    .addOption(
      new Option('--set <path=value>', 'override a field of the spec; may be repeated')
        .argParser(gatherValues)
        .default([], 'none'),
    )
    .addOption(
      new Option(
        '--only <filter>',
        'restrict the grid to a tag, or to path=value[,value]; may be repeated',
      )
        .argParser(gatherValues)
        .default([], 'all'),
    );
