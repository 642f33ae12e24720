/**
 * Limits on what comes from outside. Environment variables change some of them (SECURITY.md has a
 * table).
 */
import { createContext, Script } from 'node:vm';
import { UserFault } from '../fault.ts';

type Env = Readonly<Record<string, string | undefined>>;

const KB = 2 ** 10;
export const MB = 2 ** 20,
  GB = 2 ** 30;

/** Each limit's variable, its unit, and its default in that unit. */
const LIMITS = {
  /** Bytes fetched for one source. In bfloat16, 70 billion parameters take 140 GB. */
  source: ['DOSIMETER_FETCH_GB', GB, 200],
  /** Bytes of one package's archive. The largest wheels have about 3 GB. */
  archive: ['DOSIMETER_ARCHIVE_GB', GB, 4],
  /** Bytes that an archive unpacks to. By default, `unpackedLimit` limits them further. */
  unpacked: ['DOSIMETER_UNPACK_GB', GB, 16],
  /** The number of files listed for one source, or in one archive. */
  files: ['DOSIMETER_FETCH_FILES', 1, 100_000],
  /** Seconds without a byte. A whole answer may take this plus the time of its bytes at SLOWEST. */
  seconds: ['DOSIMETER_FETCH_SECONDS', 1, 120],
  /** Bytes of a list that a server sends. The longest of the public Python index has 20 MB. */
  list: ['DOSIMETER_LIST_MB', MB, 64],
  /** Bytes of memory that the rows of one split's source take. */
  text: ['DOSIMETER_DATA_GB', GB, 4],
} as const;
type LimitName = keyof typeof LIMITS;

export interface Limit {
  readonly value: number;
  /** A sentence that says how to raise the limit, for a hint. */
  readonly raise: string;
  /** Whether the environment sets the limit. */
  readonly chosen: boolean;
}

/** Returns a limit. Throws `UserFault` if the environment sets it to no number above 0. */
export function readLimit(name: LimitName, env: Env = process.env): Limit {
  const [variable, unit, fallback] = LIMITS[name];
  const text = env[variable]?.trim() ?? '';
  const given = text === '' ? fallback : Number(text);
  if (!(given > 0) || !Number.isFinite(given))
    throw new UserFault(
      `${variable} is ${JSON.stringify(text.slice(0, 40))}; it must be a number above 0.`,
      `Without it the limit is ${fallback}.`,
    );
  return {
    value: given * unit,
    raise: `If that is what you want, raise ${variable} (now ${given}).`,
    chosen: text !== '',
  };
}

/** The longest time that a timer accepts: about 24 days. */
export const LONGEST_MS = 2 ** 31 - 1;

/**
 * The fewest bytes per second that a server must send: a transfer is ended when it has waited
 * longer than the limit `seconds` plus the time of its bytes at this rate.
 */
export const SLOWEST = 10 * KB;

/**
 * If the environment sets no limit, an archive may unpack to LEAST_UNPACKED bytes, or to MOST_RATIO
 * times its own size if that is more; but never to more than the limit `unpacked`.
 */
const LEAST_UNPACKED = GB,
  MOST_RATIO = 50;

/** Returns how many bytes an archive of this size may unpack to. */
export function unpackedLimit(bytes: number, env?: Env): Limit {
  const limit = readLimit('unpacked', env);
  if (limit.chosen) return limit;
  return {
    ...limit,
    value: Math.min(limit.value, Math.max(LEAST_UNPACKED, MOST_RATIO * bytes)),
  };
}

/** Returns a size such as `3.2 GB`, in the units that the variables use. */
export function inWords(bytes: number): string {
  for (const [name, unit] of Object.entries({ GB, MB, kB: KB }))
    if (bytes >= unit) return `${Number((bytes / unit).toPrecision(3))} ${name}`;
  return `${bytes} bytes`;
}

const script = new Script('work()');
let scriptContext: { work: () => unknown } | undefined;

/**
 * Returns what `work` returns: synchronous work that data from outside could make endless, such as
 * a tokenizer's regular expression. Throws `UserFault` with `message` after `seconds`. A `vm`
 * script calls the work, since Node can interrupt only such a script; this costs about 0.05 ms.
 */
export function withinSeconds<T>(seconds: number, message: () => string, work: () => T): T {
  scriptContext ??= createContext({ work: () => undefined }) as { work: () => unknown };
  const context = scriptContext;
  context.work = work;
  try {
    return script.runInContext(context, { timeout: Math.ceil(seconds * 1000) }) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT')
      throw new UserFault(message());
    throw error;
  } finally {
    context.work = () => undefined;
  }
}
