/**
 * How often a failed stage is tried again, and how long one may run. Neither is in any key: what a stage wrote when it
 * succeeded does not depend on how many tries or how much time it was given.
 */
import { closest } from 'fastest-levenshtein';
import { UserFault } from '../api.ts';

/** One number for every stage kind, or one a kind; `*` stands for the kinds that are not named. */
export type PerKind = number | { readonly [kind: string]: number };

export interface Patience {
  /** Further tries after a failure; none by default. */
  readonly retries?: PerKind;
  /** Seconds that a try may take, start of the worker and the backend included; no limit by default. */
  readonly timeout?: PerKind;
}

export function forKind(given: PerKind | undefined, kind: string): number | null {
  if (given === undefined || typeof given === 'number') return given ?? null;
  return (Object.hasOwn(given, kind) ? given[kind] : given['*']) ?? null;
}

/** @throws UserFault on a kind that is none, or on a number that makes no sense */
export function checkPatience({ retries, timeout }: Patience, kinds: readonly string[]): void {
  for (const [name, given, good, expected] of [
    ['retries', retries, (n: number) => Number.isInteger(n) && n >= 0, 'a whole number from 0'],
    // setTimeout turns a longer one into one millisecond.
    [
      'timeout',
      timeout,
      (n: number) => n > 0 && n * 1000 < 2 ** 31,
      'a time above 0 and below 24 days',
    ],
  ] as const) {
    for (const [kind, value] of typeof given === 'object'
      ? Object.entries(given)
      : [['*', given] as const]) {
      if (kind !== '*' && !kinds.includes(kind))
        throw new UserFault(
          `${name}: there is no stage "${kind}"`,
          `did you mean "${closest(kind, [...kinds])}"? The stages are ${[...kinds].sort().join(', ')}.`,
        );
      if (value !== undefined && !good(value))
        throw new UserFault(`${name} takes ${expected}, got ${value}`);
    }
  }
}
