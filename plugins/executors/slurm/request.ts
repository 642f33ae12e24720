/** What one job asks Slurm for: time, memory, cores and GPUs. */
import type { Demand } from '../../../src/api.ts';
import type { Profile, Settings } from './profile.ts';

/** Jobs with equal requests of one stage kind may share an array. */
export interface Request {
  readonly kind: string;
  /** The time limit in seconds: whole minutes. */
  readonly seconds: number;
  readonly memoryMB: number;
  readonly cpus: number;
  readonly gpus: number;
}

/** One stage of a job. */
export interface Load {
  readonly cpu: number;
  readonly demand: Demand;
}

/** Time limits are rounded up to one of these, so that similar jobs share an array. */
const STEPS = [1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720, 1080, 1440].map(
  (minutes) => minutes * 60,
);
const DAY = 86_400;

/** Memory is rounded up to a multiple of this many MB. */
const MEMORY_STEP = 256;

/** The time to start the program and load the model, which recorded durations leave out. */
const START_SECONDS = 120;

/** The time limits of stages unlike any before, for those that compute and for others. */
const UNKNOWN_SECONDS = 4 * 3600,
  UNKNOWN_LIGHT_SECONDS = 1800;

const roundedUp = (value: number, step: number): number => Math.ceil(value / step) * step;

const timeStep = (seconds: number): number =>
  STEPS.find((step) => step >= seconds) ?? roundedUp(seconds, DAY);

/**
 * Returns the request of a job.
 * @param load the stages of the job: more than one for a pack, which takes the memory of its largest
 * @param longer doubles the time limit this many times, for a job that has reached it before
 * @param more doubles the memory this many times, for a job that ran out of it before
 */
export function requestOf(
  profile: Profile,
  kind: string,
  load: readonly Load[],
  longer = 0,
  more = 0,
): Request {
  const settings = profile.settings(kind);
  const memory = settings.memoryMB + Math.max(0, ...load.map(({ demand }) => demand.memoryMB ?? 0));
  return {
    kind,
    seconds: timeLimit(settings, wantedSeconds(settings, load), longer),
    memoryMB: roundedUp(memory, MEMORY_STEP) * 2 ** more,
    cpus: settings.cpus ?? Math.max(1, ...load.map(({ cpu }) => cpu)),
    gpus: settings.gpus ?? Math.max(0, ...load.map(({ demand }) => demand.gpu)),
  };
}

/** The sum over the stages, or null if it is unknown for one of them. */
export function expectedSeconds(load: readonly Load[]): number | null {
  let sum = 0;
  for (const { demand } of load) {
    if (demand.seconds === undefined) return null;
    sum += demand.seconds;
  }
  return sum;
}

function wantedSeconds({ time, margin }: Settings, load: readonly Load[]): number {
  const expected = expectedSeconds(load);
  if (expected !== null) return expected * margin + START_SECONDS;
  const isLight = load.every(({ demand }) => demand.compute === false);
  return time ?? (isLight ? UNKNOWN_LIGHT_SECONDS : UNKNOWN_SECONDS);
}

function timeLimit({ minTime, maxTime }: Settings, wanted: number, longer: number): number {
  const limit = timeStep(Math.max(minTime, wanted) * 2 ** Math.min(longer, 20));
  return Math.min(roundedUp(maxTime, 60), limit);
}

/** Returns the minutes of a time limit, as `--time` takes them. */
export const minutesOf = ({ seconds }: Request): number => Math.max(1, Math.ceil(seconds / 60));
