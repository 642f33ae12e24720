/** The rate of a run and the time that it has left, from what its stages have taken so far. */
import type { StageRecord } from './stage-records.ts';

/** The weight of the newest stage in a moving mean. */
const NEWEST = 0.3;

const moved = (mean: number | undefined, value: number): number =>
  mean === undefined ? value : mean + NEWEST * (value - mean);

/**
 * Returns the estimated seconds until the last of these stages ends, or null if nothing is known
 * yet. The time of a running stage follows from its progress. For any other it is the time that was
 * expected before the run, times the mean ratio of actual to expected time of the latest stages of
 * its kind; without an expectation, the mean time of those; if none of its kind has run, the mean
 * time of the latest stages of all kinds.
 * @param now milliseconds since 1970
 */
export function secondsLeft(stages: readonly StageRecord[], now: number): number | null {
  const taken = new Map<string, number>(),
    ratios = new Map<string, number>();
  let all: number | undefined;
  const learn = ({ kind, expected }: StageRecord, seconds: number): void => {
    taken.set(kind, moved(taken.get(kind), seconds));
    all = moved(all, seconds);
    if (expected !== null) ratios.set(kind, moved(ratios.get(kind), seconds / expected));
  };
  for (const stage of stages)
    if (stage.state === 'ran' && stage.seconds !== null) learn(stage, stage.seconds);
  for (const stage of stages) {
    const seconds = foreseen(stage, now);
    if (seconds !== null && !taken.has(stage.kind)) learn(stage, seconds);
  }
  let work = 0,
    longest = 0;
  for (const stage of stages) {
    const { state, kind, expected, places } = stage;
    if (!['running', 'ready', 'waiting'].includes(state)) continue;
    const usual = expected === null ? (taken.get(kind) ?? all) : expected * (ratios.get(kind) ?? 1);
    const seconds = foreseen(stage, now) ?? usual;
    if (seconds === undefined) return null;
    const left = Math.max(0, seconds - (spent(stage, now) ?? 0));
    work += left / places;
    longest = Math.max(longest, left);
  }
  return Math.max(work, longest);
}

/** Returns for how many seconds a stage has been running; null if it is not. */
const spent = ({ state, since }: StageRecord, now: number): number | null =>
  state === 'running' && since !== null ? Math.max(0, (now - since) / 1000) : null;

/** Returns the seconds that a running stage takes, by its progress; null if that is not known. */
function foreseen(stage: StageRecord, now: number): number | null {
  const [done = 0, total = 0] = stage.progress ?? [];
  const seconds = spent(stage, now);
  return seconds === null || done === 0 ? null : (seconds * Math.max(total, done)) / done;
}
