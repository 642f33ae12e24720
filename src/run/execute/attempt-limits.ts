/**
 * The limits of a run's attempts: how many times a failed stage is retried, and how long an attempt
 * may take. They are in no key, since what a successful stage writes depends on neither.
 *
 * To add an option, add a field to `AttemptLimits` and its entry to `ATTEMPT_LIMIT_OPTIONS`, from
 * which the command line and the library know it (a field `retryDelay` becomes `--retry-delay`).
 * Then use it in `attempt.ts`.
 */
import { closest } from 'fastest-levenshtein';
import { UserFault } from '../../api.ts';

/** One number for every stage kind, or one for each. `*` covers kinds that are not named. */
export type PerKind = number | { readonly [kind: string]: number };

export interface AttemptLimits {
  /** How many further attempts a stage gets after a failure; none by default. */
  readonly retries?: PerKind | undefined;
  /**
   * The most seconds of an attempt, with the start of the worker and the backend; no limit by
   * default.
   */
  readonly timeout?: PerKind | undefined;
}

export interface AttemptLimitOption {
  /** The value as the command line's help shows it. */
  readonly placeholder: string;
  readonly summary: string;
  /** The format of the command-line argument, for messages. */
  readonly format: string;
  /** Returns the value of an argument; null if the argument does not have the format. */
  readonly parse: (text: string) => number | null;
  /** The range of sensible values, for messages. */
  readonly range: string;
  readonly accepts: (value: number) => boolean;
}

/** The default for the most stages that share a job of a scheduler. */
export const DEFAULT_PACK = 8;

const SECONDS = { s: 1, m: 60, h: 3600 } as const;

export const ATTEMPT_LIMIT_OPTIONS: Readonly<Record<keyof AttemptLimits, AttemptLimitOption>> = {
  retries: {
    placeholder: '<[kind=]n>',
    summary: 'try a failed stage again; may be repeated',
    format: 'a whole number of at least 0',
    parse: (text) => (/^\d+$/.test(text) ? Number(text) : null),
    range: 'a whole number of at least 0',
    accepts: (value) => Number.isInteger(value) && value >= 0,
  },
  timeout: {
    placeholder: '<[kind=]time>',
    summary: 'end a stage that runs longer (90s, 30m, 2h); may be repeated',
    format: 'a time such as 90s, 30m or 2h',
    parse(text) {
      const [, value, unit = 's'] = /^(\d+(?:\.\d+)?)\s*(s|m|h)?$/.exec(text) ?? [];
      return value === undefined ? null : Number(value) * SECONDS[unit as keyof typeof SECONDS];
    },
    range: 'a time above 0 and below 24 days',
    // For a time from 2³¹ ms on, `setTimeout` would wait one millisecond.
    accepts: (value) => value > 0 && value * 1000 < 2 ** 31,
  },
};

const NAMES = Object.keys(ATTEMPT_LIMIT_OPTIONS) as readonly (keyof AttemptLimits)[];

/** Returns the limit for a stage kind; null if none was given. */
export function valueForKind(given: PerKind | undefined, kind: string): number | null {
  if (given === undefined || typeof given === 'number') return given ?? null;
  return (Object.hasOwn(given, kind) ? given[kind] : given['*']) ?? null;
}

/** Throws a UserFault for an unknown stage kind or a number out of range. */
export function checkAttemptLimits(limits: AttemptLimits, kinds: readonly string[]): void {
  for (const name of NAMES) {
    const { accepts, range } = ATTEMPT_LIMIT_OPTIONS[name];
    const given = limits[name];
    if (given === undefined) continue;
    const byKind = typeof given === 'object' ? given : { '*': given };
    for (const [kind, value] of Object.entries(byKind)) {
      if (kind !== '*' && !kinds.includes(kind))
        throw new UserFault(
          `${name}: there is no stage "${kind}"`,
          `did you mean "${closest(kind, kinds)}"? ` +
            `The stages are ${[...kinds].sort().join(', ')}.`,
        );
      if (!accepts(value)) throw new UserFault(`${name} takes ${range}, got ${value}`);
    }
  }
}
