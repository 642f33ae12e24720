/** What the server sends to the page, as JSON. Times are milliseconds since 1970. */

/**
 * The states of a stage. `ready`: its inputs are there, and it waits for its turn. `waiting`: some
 * inputs are not there yet. `blocked`: a stage that it needs has failed. `stopped`: it was running
 * when the run ended. `abandoned`: the run ended before it began. `cached`: it did not run, because
 * its outputs were in the store.
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
 * `unknown`: the run has not ended, its process is on another machine, and its heartbeat has not
 * been watched for long enough. `silent`: the heartbeat was watched, and has stopped.
 */
export type RunState =
  'running' | 'done' | 'failed' | 'interrupted' | 'killed' | 'silent' | 'unknown';

/** Whether a run in this state may still go on. */
export const mayGoOn = (state: RunState): boolean =>
  state === 'running' || state === 'silent' || state === 'unknown';

export type Counts = { readonly [State in StageState]?: number };

export interface RunFacts {
  readonly id: string;
  readonly state: RunState;
  /** The experiment's name; empty if the run recorded no plan. */
  readonly name: string;
  readonly spec: string;
  readonly backend: string;
  readonly executor: string;
  /** The machine that the run's process is on, or was on; empty if the journal does not say. */
  readonly host: string;
  readonly started: number | null;
  /** The time of the last event of the journal; null before the first. */
  readonly heard: number | null;
  /** How many seconds the run took; null while it goes on, and if it was killed. */
  readonly seconds: number | null;
  readonly counts: Counts;
  /** How many stages ran per minute since the run began; null before the first. */
  readonly rate: number | null;
  /** Estimated seconds until the run ends; null if there is no estimate. */
  readonly left: number | null;
  /** The number of lines of the journal that are damaged. */
  readonly damaged: number;
  /** The time by the server's clock when this was sent. */
  readonly now: number;
}

/** The stages of one kind: a box of the graph. */
export interface Group {
  readonly name: string;
  /** The box's column in the drawing, from 0. */
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
  readonly box: { readonly width: number; readonly height: number };
}

/** The part of a stage that changes. A field is absent if its value is not known. */
export interface StageStatus {
  readonly state: StageState;
  /** When the last attempt began. */
  readonly since?: number;
  /** How many seconds the last attempt took. */
  readonly seconds?: number;
  readonly progress?: readonly [done: number, total: number, unit: string];
  /** Where a scheduler has the stage's job while the stage is running: a node, or a queue. */
  readonly place?: Place;
}

export interface Place {
  /** The scheduler's name for the job. */
  readonly job: string;
  /** The machine that the job is on; null if it is not known. */
  readonly node: string | null;
  /** Why the job waits; null once it no longer waits. */
  readonly waits: string | null;
}

export interface Stage extends StageStatus {
  readonly id: string;
  readonly label: string;
  /** The index in `Graph.groups` of the stage's box. */
  readonly group: number;
}

/** The failed stages that have the same message and hint. */
export interface Failure {
  readonly error: string;
  readonly hint: string | null;
  /** Whether the program or a plugin is at fault, rather than the spec. */
  readonly internal: boolean;
  /** The number of stages that failed with this cause. */
  readonly count: number;
  /** The indexes of the first of these stages. */
  readonly stages: readonly number[];
  /** The number of stages that can't run because one of these stages failed. */
  readonly blocked: number;
}

export interface Note {
  readonly at: number | null;
  readonly text: string;
}

/** The parts of a run that are sent whole when they change. */
export interface Overview {
  readonly facts: RunFacts;
  readonly failures: readonly Failure[];
  readonly notes: readonly Note[];
}

export interface Snapshot extends Overview {
  /** The id of the last event that the snapshot contains. */
  readonly at: number;
  readonly graph: Graph;
  readonly stages: readonly Stage[];
  /** The number of stages that are not shown, since the run has too many. */
  readonly left: number;
}

/** An event `changes` of a run's stream. */
export interface Changes extends Partial<Overview> {
  /** The new status of each stage that has changed, with the stage's index. */
  readonly stages?: readonly (readonly [index: number, status: StageStatus])[];
  /**
   * New stages, which the plan did not name. Their indexes follow those of the stages known before.
   */
  readonly added?: readonly Stage[];
  readonly graph?: Graph;
}

export type RunLine = Omit<RunFacts, 'now'>;

/** An event `runs` of the list's stream. */
export interface RunList {
  readonly runs: readonly RunLine[];
  /** The number of earlier runs, which are not listed. */
  readonly earlier: number;
}

/** A curve of a training. Its points are in the order of their steps. */
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
  /** The id of the failed stage that blocks it. */
  readonly blockedBy: string | null;
  /** The stages that this stage reads, and those that read it. */
  readonly reads: StageLinks;
  readonly readBy: StageLinks;
  readonly metrics: readonly (readonly [name: string, value: number])[];
  readonly curves: readonly Curve[];
}

/** Some stages: the indexes of the first of them, and how many there are in all. */
export interface StageLinks {
  readonly stages: readonly number[];
  readonly count: number;
}

/** An event `log`: new text of a log, which follows or replaces the text sent before. */
export interface LogText {
  readonly text: string;
  /** Whether this replaces the text sent before. */
  readonly anew: boolean;
  /** Whether the log has earlier text that is not shown. */
  readonly cut: boolean;
}

/** The metrics of the finished stages of one kind. */
export interface Results {
  readonly metrics: readonly string[];
  /** Each stage's index and its metrics, in the order of `metrics`. */
  readonly rows: readonly (readonly [stage: number, values: readonly (number | null)[]])[];
  /**
   * For each row, why some numbers in it are not evidence, by metric. Empty if all are evidence.
   */
  readonly reasons: readonly { readonly [metric: string]: string }[];
  /** The number of finished stages that are not shown, since there are too many. */
  readonly left: number;
}
