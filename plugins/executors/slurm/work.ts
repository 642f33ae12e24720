/** A Slurm job as the coordinator sees it: the stages in it, and what is known about it. */
import type { JobResult, PackedJob, TaskEvent } from '../../../src/api.ts';
import { isRecord } from '../../../src/base/untrusted/json.ts';
import type { Load } from './script.ts';
import { type Claim, type Spool, Tail } from './spool.ts';

/** A stage that waits for its result. */
export interface Member extends PackedJob {
  readonly key: string;
  /** Resolves the executor's promise; the first call counts. */
  readonly settle: (result: JobResult) => void;
}

/** The stages of one Slurm job that still wait for their results. */
export interface Work {
  readonly kind: string;
  readonly members: Set<Member>;
  /** How many times its stages were submitted before. */
  tries: number;
  /** How many times its time limit is to be doubled. */
  longer: number;
  /** How many times its memory is to be doubled. */
  more: number;
  /** Its submitted task; null while it waits to be submitted. */
  task: Task | null;
}

/** What is known about a task that was submitted, or may have been. */
export interface Task {
  readonly claim: Claim;
  /** Slurm's id of the whole submission; null until it is known. */
  id: string | null;
  /** `123_4`, as Slurm's commands take it; null until Slurm has shown it. */
  element: string | null;
  /** How many queries in a row showed the task as ended. */
  ended: number;
  /** How many queries in a row did not show the task, and since when (ms, monotonic clock). */
  missed: number;
  missedSince: number;
  /** The reason for waiting that the user has been told. */
  toldReason: string;
  /** Where the stages were told that the job is, as JSON. */
  toldPlace: string;
  /** Results of killed processes, which are not handed on until Slurm says why. */
  readonly killed: Map<Member, JobResult>;
  readonly relay: Relay;
}

export const loadOf = ({ members }: Pick<Work, 'members'>): readonly Load[] =>
  [...members].map(({ job: { cpu, demand = { gpu: 0 } } }) => ({ cpu, demand }));

/** The counts that a job passes on to the next job of its stages. */
export type History = Pick<Work, 'tries' | 'longer' | 'more'>;

export const newWork = (
  kind: string,
  members: Iterable<Member>,
  { tries, longer, more }: History = { tries: 0, longer: 0, more: 0 },
): Work => ({
  kind,
  members: new Set(members),
  tries,
  longer,
  more,
  task: null,
});

/** Returns a task that Slurm has not shown yet. @param keys those of its stages, in order */
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
    ended: 0,
    missed: 0,
    missedSince: 0,
    toldReason: '',
    toldPlace: '',
    killed: new Map(),
    relay: new Relay(new Tail(spool.eventsFile(claim)), keys),
  };
}

/** Passes on to each stage of a task what it prints and logs. */
class Relay {
  constructor(
    readonly events: Tail,
    readonly keys: readonly string[],
  ) {}

  /** Whether the task's last event says that it was stopped before its end. */
  interrupted = false;

  pass(members: ReadonlySet<Member>): void {
    for (let lines = this.events.lines(); lines.length > 0; lines = this.events.lines())
      for (const line of lines) this.#passLine(line, members);
  }

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

/** Returns the event that a task has written on a line; null for anything else. */
function parseEvent(line: string): TaskEvent | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null; // cut short when the task was killed
  }
  if (!isRecord(value)) return null;
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
