/** What the server sends to the page, as JSON. Times are milliseconds since 1970. */

/**
 * The states of a stage. `ready`: all that it reads is there, and it waits for its turn. `stopped`:
 * it was running when the run ended.
 */
export const STAGE_STATES = [
  'running',
  'ready',
  'waiting',
  'failed',
  'blocked',
  'stopped',
  'abandoned',
  'ran',
  'cached',
] as const;
export type StageState = (typeof STAGE_STATES)[number];

/**
 * `unknown`: it has not ended, its process is on another machine, and its heartbeat has not been
 * watched for long enough. `silent`: it was watched, and has stopped.
 */
export type RunState =
  'running' | 'done' | 'failed' | 'interrupted' | 'killed' | 'silent' | 'unknown';

/** Whether a run in this state may still go on. */
export const mayGoOn = (state: RunState): boolean =>
  state === 'running' || state === 'silent' || state === 'unknown';

export type Counts = { readonly [State in StageState]?: number };

/** What is known of a run as a whole. */
export interface RunFacts {
  readonly id: string;
  readonly state: RunState;
  /** The experiment's name; empty if the run recorded no plan. */
  readonly name: string;
  /** The spec's file. */
  readonly spec: string;
  readonly backend: string;
  readonly executor: string;
  /** The machine that its process is on, or was on; empty if its journal does not say. */
  readonly host: string;
  readonly started: number | null;
  /** The time of the last event of its journal. */
  readonly heard: number | null;
  /** How many seconds it took; null while it goes on, and if it was killed. */
  readonly seconds: number | null;
  readonly counts: Counts;
  /** Stages that ran per minute since the run began; null before the first. */
  readonly rate: number | null;
  /** Estimated seconds until its end; null if there is no estimate. */
  readonly left: number | null;
  /** The number of lines of its journal that are damaged. */
  readonly damaged: number;
  /** The server's clock. */
  readonly now: number;
}

/** The stages of one kind: a box of the graph. */
export interface Group {
  readonly name: string;
  /** The number of arrows on the longest way to it. */
  readonly level: number;
  /** The box's centre, in pixels. */
  readonly x: number;
  readonly y: number;
}

export interface Graph {
  readonly groups: readonly Group[];
  /** The points of each arrow, in pixels: x, y, x, y, … */
  readonly arrows: readonly (readonly number[])[];
  readonly width: number;
  readonly height: number;
  /** The size of every box. */
  readonly box: { readonly width: number; readonly height: number };
}

/** What changes of a stage. A field is absent where there is nothing to say. */
export interface StageStatus {
  readonly state: StageState;
  /** When its last attempt began. */
  readonly since?: number;
  /** How long it took. */
  readonly seconds?: number;
  readonly progress?: readonly [done: number, total: number, unit: string];
  /** Where a scheduler has its job, while it is running: a node, or a queue that it waits in. */
  readonly place?: Place;
}

export interface Place {
  /** The scheduler's name of the job. */
  readonly job: string;
  readonly node: string | null;
  /** Why it waits; null once it no longer does. */
  readonly waits: string | null;
}

export interface Stage extends StageStatus {
  readonly id: string;
  readonly label: string;
  /** Its box, as an index into `Graph.groups`. */
  readonly group: number;
}

/** Failures with one cause, or the stages that a failed stage blocks. */
export interface Failure {
  readonly error: string;
  readonly hint: string | null;
  /** Whether the program or a plugin is at fault, and not the spec. */
  readonly internal: boolean;
  /** The number of stages that failed so. */
  readonly count: number;
  /** The first of them, as indexes. */
  readonly stages: readonly number[];
  /** The number of stages that wait for them in vain. */
  readonly blocked: number;
}

export interface Note {
  readonly at: number | null;
  readonly text: string;
}

/** What is sent whole whenever any of it changes. */
export interface Overview {
  readonly facts: RunFacts;
  readonly failures: readonly Failure[];
  /** The latest notes of the run. */
  readonly notes: readonly Note[];
}

export interface Snapshot extends Overview {
  /** The id of the last event that it contains. */
  readonly at: string;
  readonly graph: Graph;
  readonly stages: readonly Stage[];
  /** Stages that are not shown, since the run has too many. */
  readonly left: number;
}

/** An event `changes` of a run's stream. */
export interface Changes extends Partial<Overview> {
  /** Stages by their index. */
  readonly stages?: readonly (readonly [index: number, status: StageStatus])[];
  /** Stages that the plan did not name, after those known before. */
  readonly added?: readonly Stage[];
  readonly graph?: Graph;
}

/** A run in the list of runs. */
export type RunLine = Omit<RunFacts, 'now'>;

/** An event `runs` of the list's stream. */
export interface RunList {
  readonly runs: readonly RunLine[];
  /** Earlier runs, which are not listed. */
  readonly earlier: number;
}

/** Points of a curve, in the order of its steps. */
export interface Curve {
  readonly name: string;
  readonly points: readonly (readonly [step: number, value: number])[];
}

/** An event `detail` of a stage's stream. */
export interface StageDetail {
  readonly id: string;
  readonly attempts: number;
  readonly key: string | null;
  readonly failure: Omit<Failure, 'count' | 'stages' | 'blocked'> | null;
  /** The failed stage that it waits for in vain. */
  readonly blockedBy: string | null;
  /** The first stages that it reads, and that read it, as indexes; and how many there are. */
  readonly reads: StageLinks;
  readonly readBy: StageLinks;
  readonly metrics: readonly (readonly [name: string, value: number])[];
  readonly curves: readonly Curve[];
}

export interface StageLinks {
  readonly stages: readonly number[];
  readonly count: number;
}

/** An event `log`: text that follows what was sent before, or replaces it. */
export interface LogText {
  readonly text: string;
  /** Whether this begins the log anew. */
  readonly anew: boolean;
  /** Whether earlier text was left out. */
  readonly cut: boolean;
}

/** The metrics of the finished stages of one kind. */
export interface Results {
  readonly metrics: readonly string[];
  /** Each stage's index and its metrics, in the order of `metrics`. */
  readonly rows: readonly (readonly [stage: number, values: readonly (number | null)[]])[];
  /** Finished stages that are not shown, since there are too many. */
  readonly left: number;
}
