/** A Slurm job as the coordinator sees it: the stages in it, and what is known about it. */
import type { JobResult, PackedJob, TaskEvent } from '../../../src/api.ts';
import type { Load } from './script.ts';
import { type Claim, parseRecord, type Spool, Tail } from './spool.ts';

/** A stage that waits for its result. */
export interface Member extends PackedJob {
  readonly key: string;
  /** Resolves the promise that `runPack` returned for the stage. Only the first call counts. */
  readonly settle: (result: JobResult) => void;
}

/**
 * A Slurm job, or one to be submitted, with its stages that still wait for results: none if they
 * were all stopped and the job is to be cancelled.
 */
export interface Work {
  readonly kind: string;
  readonly members: Set<Member>;
  /** How many times its stages were submitted before. */
  tries: number;
  /** How many times its time limit is to be doubled. */
  longer: number;
  /** How many times its memory is to be doubled. */
  more: number;
  /** Null while the job waits to be submitted. */
  task: Task | null;
}

/** A job's place in a submission, and what is known of the job since. */
export interface Task {
  readonly claim: Claim;
  /** Slurm's id of the whole submission; null until it is known. */
  id: string | null;
  /** Slurm's id of this job alone, such as `123_4` in an array; null until Slurm has shown it. */
  element: string | null;
  /** Whether one of its stages was stopped with `LEAVE`: the job goes on without this run. */
  left: boolean;
  /** How many queries in a row showed the task as ended. */
  ended: number;
  /** How many queries in a row did not show the task, and since when (ms, monotonic clock). */
  missed: number;
  missedSince: number;
  /** The last reason for waiting that the user was told; '' before any. */
  toldReason: string;
  /** The place of the job that its stages were last told, as JSON; '' before any. */
  toldPlace: string;
  /**
   * By stage, the results of killed processes. They are not handed on until Slurm says why the
   * process was killed.
   */
  readonly killed: Map<Member, JobResult>;
  readonly relay: Relay;
}

/** Returns what each stage of a job takes. */
export const loadsIn = ({ members }: Pick<Work, 'members'>): readonly Load[] =>
  [...members].map(({ job: { cpu, demand = { gpu: 0 } } }) => ({ cpu, demand }));

/**
 * Returns work that is to be submitted.
 * @param before the counts of an earlier job with these stages
 */
export const newWork = (
  kind: string,
  members: Iterable<Member>,
  before: Pick<Work, 'tries' | 'longer' | 'more'> = { tries: 0, longer: 0, more: 0 },
): Work => {
  const { tries, longer, more } = before;
  return { kind, members: new Set(members), tries, longer, more, task: null };
};

/**
 * Returns the task of work that was just submitted or adopted.
 * @param id Slurm's id of the submission; null if it is not known yet
 * @param keys the keys of the task's stages, in the order of the task's file
 */
export function newTask(
  spool: Spool,
  claim: Claim,
  id: string | null,
  keys: readonly string[],
): Task {
  return {
    claim,
    id,
    element: null,
    left: false,
    ended: 0,
    missed: 0,
    missedSince: 0,
    toldReason: '',
    toldPlace: '',
    killed: new Map(),
    relay: new Relay(new Tail(spool.eventsFile(claim)), keys),
  };
}

/** Passes on to each stage of a task what the file of the task's events says of the stage. */
class Relay {
  constructor(
    readonly events: Tail,
    readonly keys: readonly string[],
  ) {}

  /** Whether the task has said, since it last began, that it was stopped before its end. */
  interrupted = false;

  /** Passes on the events since the last call, except those of stages that are not in `members`. */
  pass(members: ReadonlySet<Member>): void {
    for (let lines = this.events.lines(); lines.length > 0; lines = this.events.lines())
      for (const line of lines) this.#passLine(line, members);
  }

  /**
   * Passes on the event on a line, or notes in `interrupted` that the task began or was stopped.
   */
  #passLine(line: string, members: ReadonlySet<Member>): void {
    const event = parseEvent(line);
    if (event === null) return;
    if (!('member' in event)) {
      this.interrupted = 'interrupted' in event;
      return;
    }
    const key = this.keys[event.member];
    const member = [...members].find((one) => one.key === key);
    if (member === undefined) return;
    if ('log' in event) member.hooks.onLog(event.log);
    else if ('printed' in event) member.hooks.onOutput(event.printed);
    else member.hooks.onProgress(event.done, event.total, event.unit);
  }
}

/** Returns the event on a line of a task's events; null for any other line. */
function parseEvent(line: string): TaskEvent | null {
  const value = parseRecord(line); // null if it was cut short when the task was killed
  if (value === null) return null;
  if (value['begun'] === true) return { begun: true };
  if (value['interrupted'] === true) return { interrupted: true };
  const { member, log, printed, done, total, unit } = value;
  if (typeof member !== 'number') return null;
  if (typeof log === 'string') return { member, log };
  if (typeof printed === 'string') return { member, printed };
  return typeof done === 'number' && typeof total === 'number' && typeof unit === 'string'
    ? { member, done, total, unit }
    : null;
}
