/**
 * Reads the site profile, `slurm.yaml`, which says what to ask a Slurm cluster for. It lies beside
 * the spec or else in the user's config folder.
 */
import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Ajv, type ErrorObject } from 'ajv';
import { LineCounter, parseDocument } from 'yaml';
import schema from '../../../schemas/slurm-profile.schema.json' with { type: 'json' };
import { UserFault } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';

/** The settings as a profile's file has them, for all stage kinds or for one. */
interface GivenSettings {
  readonly partition?: string;
  readonly account?: string;
  readonly qos?: string;
  readonly reservation?: string;
  readonly constraint?: string;
  readonly gres?: string;
  readonly gpus?: number;
  readonly cpus?: number;
  readonly memory_mb?: number;
  readonly memory_retries?: number;
  readonly time?: string;
  readonly min_time?: string;
  readonly max_time?: string;
  readonly margin?: number;
  readonly signal?: string;
  readonly setup?: readonly string[];
  readonly options?: readonly string[];
}

interface GivenProfile extends GivenSettings {
  readonly kinds?: { readonly [kind: string]: GivenSettings };
  readonly local?: readonly string[];
  readonly exclude?: readonly string[];
  readonly max_jobs?: number;
  readonly max_array?: number;
  readonly max_requeues?: number;
  readonly poll?: string;
  readonly call_timeout?: string;
}

type Optional = 'partition' | 'account' | 'qos' | 'reservation' | 'constraint' | 'gpus' | 'cpus';

/** What jobs of one stage kind ask for. Times are in seconds. */
export interface Settings
  extends
    Pick<GivenSettings, Optional>,
    Required<Pick<GivenSettings, 'gres' | 'margin' | 'setup' | 'options'>> {
  readonly memoryMB: number;
  /** How often a job out of memory is submitted again, each time with twice the memory. */
  readonly memoryRetries: number;
  /** The time for a stage whose duration is not known yet; absent if the profile gives none. */
  readonly time?: number;
  readonly minTime: number;
  readonly maxTime: number;
  /** How long before its time limit a job is signalled, to save its state. */
  readonly signal: number;
}

export interface Profile {
  /** The profile's file; null if there is none, so that all settings are defaults. */
  readonly file: string | null;
  settings(kind: string): Settings;
  /** The stage kinds that run on this machine, without a job. */
  readonly local: ReadonlySet<string>;
  readonly exclude: readonly string[];
  readonly maxJobs: number;
  readonly maxArray: number | null;
  readonly maxRequeues: number;
  readonly pollSeconds: number;
  readonly callSeconds: number;
}

type Env = Readonly<Record<string, string | undefined>>;

export const PROFILE = 'slurm.yaml';

/** Returns the paths where a profile may be. Only the first file that exists is read. */
const profileFiles = (spec: string, env: Env): readonly string[] => [
  path.join(path.dirname(spec), PROFILE),
  path.join(
    env['XDG_CONFIG_HOME'] ?? path.join(env['HOME'] ?? os.homedir(), '.config'),
    'dosimeter',
    PROFILE,
  ),
];

/**
 * Reads the profile of a spec; without a file, all settings are defaults. Throws UserFault if the
 * file can't be read or has a fault.
 */
export function loadProfile(spec: string, env: Env): Profile {
  const file = profileFiles(spec, env).find((one) => existsSync(one));
  if (file === undefined) return createProfile({}, null);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UserFault(`the Slurm profile ${file} can't be read: ${(error as Error).message}`);
  }
  return parseProfile(text, file);
}

/**
 * Returns the profile in a YAML text; an empty text gives the defaults. Throws UserFault if the
 * text is not YAML, does not fit the schema (the message names the line), or has times that
 * contradict each other.
 */
export function parseProfile(text: string, file: string): Profile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const [broken] = document.errors;
  if (broken) throw new UserFault(`${file}: ${broken.message.split('\n')[0] ?? ''}`);
  const value: unknown = document.toJS() ?? {};
  const check = new Ajv({ allErrors: true, verbose: true }).compile<GivenProfile>(schema);
  if (check(value)) {
    const profile = createProfile(value, file);
    for (const kind of ['', ...Object.keys(value.kinds ?? {})]) checkTimes(profile, kind);
    return profile;
  }
  const [error] = check.errors ?? [];
  if (error === undefined) throw new Error('a schema refused a profile and did not say why');
  const at = error.instancePath.split('/').slice(1);
  const node: unknown = document.getIn(at, true);
  const range = (node as { readonly range?: readonly number[] } | undefined)?.range;
  const line = range?.[0] === undefined ? '' : `:${lines.linePos(range[0]).line}`;
  throw new UserFault(`${file}${line}: ${faultText(error, at)}`, faultHint(error));
}

/**
 * Returns the message for a fault by the schema. @param at the path of the setting with the fault
 */
function faultText(error: ErrorObject, at: readonly string[]): string {
  const where = at.length === 0 ? 'the profile' : `\`${at.join('.')}\``;
  const value = JSON.stringify(error.data);
  if (error.keyword === 'additionalProperties')
    return `there is no setting "${String(error.params['additionalProperty'])}" in ${where}`;
  if (error.keyword === 'pattern') return `${where} can't be ${value}`;
  return `${where} ${error.message ?? 'is at fault'}, and is ${value}`;
}

/**
 * Returns the hint for a fault by the schema: the settings that there are, the form of a time, or
 * else what the schema says of the setting; undefined if it says nothing.
 */
function faultHint(error: ErrorObject): string | undefined {
  if (error.keyword === 'additionalProperties') {
    const known = Object.keys((error.parentSchema?.['properties'] ?? {}) as object);
    return `the settings are ${known.join(', ')}`;
  }
  if (error.keyword === 'pattern' && error.schemaPath.includes('time'))
    return 'write a time such as 90s, 30m, 4h or 2d';
  const { description } = (error.parentSchema ?? {}) as { readonly description?: string };
  return description;
}

/**
 * Throws UserFault if the times of a stage kind contradict each other.
 * @param kind '' for the settings outside `kinds`
 */
function checkTimes(profile: Profile, kind: string): void {
  const { minTime, maxTime, signal } = profile.settings(kind);
  const where = kind === '' ? '' : ` of \`kinds.${kind}\``;
  if (minTime > maxTime)
    throw new UserFault(
      `${profile.file ?? ''}: min_time${where} is longer than max_time`,
      'make max_time the longest time that the partition allows',
    );
  if (signal >= minTime)
    throw new UserFault(
      `${profile.file ?? ''}: signal${where} is not shorter than min_time`,
      'a job would save its state before it has begun: make min_time longer or signal shorter',
    );
}

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Returns the seconds of a time such as `30m`. */
const parseSeconds = (time: string): number =>
  Number(time.slice(0, -1)) * (UNITS[time.slice(-1)] ?? 1);

function createProfile(given: GivenProfile, file: string | null): Profile {
  return {
    file,
    settings: (kind) =>
      resolveSettings({
        ...given,
        ...(given.kinds && Object.hasOwn(given.kinds, kind) ? given.kinds[kind] : {}),
      }),
    local: new Set(given.local),
    exclude: given.exclude ?? [],
    maxJobs: given.max_jobs ?? 200,
    maxArray: given.max_array ?? null,
    maxRequeues: given.max_requeues ?? 20,
    pollSeconds: parseSeconds(given.poll ?? '10s'),
    callSeconds: parseSeconds(given.call_timeout ?? '60s'),
  };
}

/** Fills in the defaults, and turns times into seconds. */
function resolveSettings(given: GivenSettings): Settings {
  const { partition, account, qos, reservation, constraint, gpus, cpus } = given;
  return {
    ...defined({ partition, account, qos, reservation, constraint, gpus, cpus }),
    gres: given.gres ?? 'gpu',
    memoryMB: given.memory_mb ?? 4000,
    memoryRetries: given.memory_retries ?? 0,
    ...(given.time === undefined ? {} : { time: parseSeconds(given.time) }),
    minTime: parseSeconds(given.min_time ?? '10m'),
    maxTime: parseSeconds(given.max_time ?? '24h'),
    margin: given.margin ?? 3,
    signal: parseSeconds(given.signal ?? '2m'),
    setup: given.setup ?? [],
    options: given.options ?? [],
  };
}
