/** Gathers a user's faults, so that all of them are reported at once. */
import { defined } from '../base/defined.ts';
import { rangeOf, type Span } from './node.ts';
import type { Diagnostic } from './types.ts';

/**
 * Reports one fault. A fault with the same code and message at the same place is reported only
 * once.
 * @param at the place at fault; null if it is not a place in a file
 */
export type Report = (code: string, at: Span | null, message: string, hint?: string) => void;

export type Faults = ReturnType<typeof gatherFaults>;

export function gatherFaults() {
  const found: { readonly at: Span | null; readonly diagnostic: Diagnostic }[] = [];
  const seen = new Set<string>(),
    places = new Set<string>();
  const files: string[] = [];
  const placeKey = (at: Span): string => `${at.start}-${at.end} ${at.source.file}`;
  /** Adds a fault, unless the same one was added before (see `Report`). */
  const report: Report = (code, at, message, hint) => {
    const identity = `${code} ${message} ${at ? placeKey(at) : ''}`;
    if (seen.has(identity)) return;
    seen.add(identity);
    if (at) {
      places.add(placeKey(at));
      if (!files.includes(at.source.file)) files.push(at.source.file);
    }
    const range = at && rangeOf(at);
    found.push({ at, diagnostic: { code, message, range, ...defined({ hint }) } });
  };
  return {
    report,
    /** Whether a fault was reported at exactly this place. */
    has: (at: Span): boolean => places.has(placeKey(at)),
    /** Returns how many faults were reported. */
    count: (): number => found.length,
    /**
     * Returns the diagnostics: first those without a place, then those of each file by place. The
     * files are in the order of their first fault.
     */
    diagnostics(): Diagnostic[] {
      /** Returns the position of a fault's file in `files`; -1 for a fault without a place. */
      const rank = (at: Span | null): number => (at ? files.indexOf(at.source.file) : -1);
      return found
        .toSorted((a, b) => rank(a.at) - rank(b.at) || (a.at?.start ?? 0) - (b.at?.start ?? 0))
        .map(({ diagnostic }) => diagnostic);
    },
  };
}
