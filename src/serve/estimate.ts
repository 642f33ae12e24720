/** The rate of a run and the time that it has left, from what its stages have taken so far. */
import type { StageRecord } from './record.ts';

/** The weight of the newest stage in a moving mean. */
const NEWEST = 0.3;

const moved = (mean: number | undefined, value: number): number =>
  mean === undefined ? value : mean + NEWEST * (value - mean);

/**
 * Returns the estimated seconds until the last of these stages ends, or null if nothing like some
 * of them has ever run. A stage takes what was expected before the run, times how much longer than
 * expected the latest stages of its kind took; without an expectation, what those took.
 * @param now milliseconds since 1970
 */
export function secondsLeft(stages: readonly StageRecord[], now: number): number | null {
  const taken = new Map<string, number>(),
    ratios = new Map<string, number>();
  let all: number | undefined;
  for (const { state, kind, seconds, expected } of stages) {
    if (state !== 'ran' || seconds === null) continue;
    taken.set(kind, moved(taken.get(kind), seconds));
    all = moved(all, seconds);
    if (expected !== null) ratios.set(kind, moved(ratios.get(kind), seconds / expected));
  }
  let work = 0,
    longest = 0;
  for (const { state, kind, since, expected, places } of stages) {
    if (!['running', 'ready', 'waiting'].includes(state)) continue;
    const seconds =
      expected === null ? (taken.get(kind) ?? all) : expected * (ratios.get(kind) ?? 1);
    if (seconds === undefined) return null;
    const spent = state === 'running' && since !== null ? (now - since) / 1000 : 0;
    const left = Math.max(0, seconds - Math.max(0, spent));
    work += left / places;
    longest = Math.max(longest, left);
  }
  return Math.max(work, longest);
}
