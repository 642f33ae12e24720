/**
 * Shows how runs of other processes stand, asks runs to stop, and removes the folders of old runs
 * (`gc --runs`). It uses the files in the runs' folders: `beat.json` shows that a run is alive, and
 * `cancel` asks it to stop. What the runs made stays in the store.
 */
import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '../api.ts';
import type { ActionKey } from '../plan/types.ts';
import { processState } from '../store/owner.ts';
import { readRegularOr } from '../store/regular.ts';
import { readPins } from '../store/roots.ts';
import { readdirOr } from '../store/sweep.ts';
import { BEAT_FILE, listRuns, readJournal } from './log/run-folder.ts';
import { parseRunPlan, PLAN_FILE } from './log/run-plan.ts';
import type { RunsToKeep } from './state-folder.ts';

export interface RunStatus {
  readonly run: string;
  /**
   * `unknown`: it has not ended, and its process is on another machine, where only its heartbeat
   * shows whether it is alive. `silent`: the heartbeat was watched and has stopped.
   */
  readonly state: 'running' | 'done' | 'failed' | 'interrupted' | 'killed' | 'silent' | 'unknown';
  readonly spec: string;
  /** The notes on the run and on its spec; null if there are none. */
  readonly notes: string | null;
  /** When the run was created; null if its journal does not say. */
  readonly started: string | null;
  /** The machine that the run's process is on; null if its journal does not say. */
  readonly host: string | null;
  /**
   * When the journal's last event was, by the clock of `host`; null if the journal has no event.
   */
  readonly heard: string | null;
  /** How long the run took; null while it runs, and if it was killed. */
  readonly seconds: number | null;
  /** How many stages were to run (`to run`), and how many ended in each state. */
  readonly stages: { readonly [state: string]: number };
  /** The ids of running stages. */
  readonly running: readonly string[];
  readonly failed: readonly { readonly stage: string; readonly error: string }[];
  /** How many lines of the journal are damaged. They are left out. */
  readonly damaged: number;
}

/** The state of a run that has not ended, by the state of its process. */
const UNENDED = { alive: 'running', dead: 'killed', unknown: 'unknown' } as const;

/** Reads the journal and, if the run has not ended, looks whether its process lives. */
export function runStatus({ id, dir }: { readonly id: string; readonly dir: string }): RunStatus {
  const { events, damaged } = readJournal(dir);
  const created = events.find(({ event }) => event === 'created');
  const ended = events.find(({ event }) => event === 'ended');
  const { stages, running, failed } = tally(events);
  const state = ended ? endState(ended, failed.length > 0) : UNENDED[processState(created ?? {})];
  return {
    run: id,
    state,
    spec: textOr(created?.['spec'], ''),
    notes: textOr(created?.['notes'], null),
    started: textOr(created?.['time'], null),
    host: textOr(created?.['hostname'], null),
    heard: textOr(events.at(-1)?.['time'], null),
    seconds: typeof ended?.['seconds'] === 'number' ? ended['seconds'] : null,
    stages,
    running: state === 'running' || state === 'unknown' ? running : [],
    failed,
    damaged,
  };
}

/** How long the heartbeat of another machine's run is watched. It beats every two seconds. */
const WATCH_MS = 10_000;

/**
 * Like `runStatus`, but watches the heartbeats of runs on other machines: up to 10 s if one of them
 * is silent.
 * @param onWatch called before it watches
 */
export async function watchedStatuses(
  runs: readonly { readonly id: string; readonly dir: string }[],
  onWatch: () => void,
): Promise<readonly RunStatus[]> {
  const found = runs.map((run) => ({ run, status: runStatus(run) }));
  if (found.some(({ status }) => status.state === 'unknown')) onWatch();
  return Promise.all(
    found.map(async ({ run, status }) => {
      if (status.state !== 'unknown') return status;
      const hasEnded = (): boolean => runStatus(run).state !== 'unknown';
      const beats = await isBeating(run.dir, hasEnded, WATCH_MS);
      const now = runStatus(run);
      if (now.state !== 'unknown') return now;
      return beats ? { ...now, state: 'running' } : { ...now, state: 'silent', running: [] };
    }),
  );
}

/** Returns a value that is a text; `other` in place of any other value. */
const textOr = <T>(value: unknown, other: T): string | T =>
  typeof value === 'string' ? value : other;

/**
 * Returns the state of a run that has ended: `interrupted`, else `failed` if any stage failed, else
 * `done`.
 */
const endState = (ended: JsonObject, anyFailed: boolean): RunStatus['state'] =>
  ended['interrupted'] === true ? 'interrupted' : anyFailed ? 'failed' : 'done';

function tally(events: readonly JsonObject[]): Pick<RunStatus, 'stages' | 'running' | 'failed'> {
  const running = new Set<string>();
  const failed: { stage: string; error: string }[] = [];
  const stages: { [state: string]: number } = {};
  for (const event of events) {
    const stage = textOr(event['stage'], '');
    if (event['event'] === 'started') stages['to run'] = Number(event['stages']);
    if (event['event'] === 'stage-started') running.add(stage);
    if (event['event'] !== 'stage-ended') continue;
    const state = textOr(event['state'], '');
    running.delete(stage);
    stages[state] = (stages[state] ?? 0) + 1;
    if (state === 'failed') failed.push({ stage, error: textOr(event['error'], '') });
  }
  return { stages, running: [...running], failed };
}

/** Returns the keys of a run's entries, or why they are not known: `did not end`. */
export function runEntries(dir: string): readonly ActionKey[] | string {
  const { events, damaged } = readJournal(dir);
  if (damaged > 0) return 'has a damaged journal';
  if (!events.some(({ event }) => event === 'ended')) return 'did not end';
  const text = readRegularOr(path.join(dir, PLAN_FILE))?.toString(),
    plan = text === undefined ? null : parseRunPlan(text);
  if (plan === null) return `has no ${PLAN_FILE} that this version reads`;
  const keys = new Set<string>();
  for (const { cached } of plan.stages) if (cached !== null) keys.add(cached);
  for (const { event, key } of events)
    if (event === 'stage-ended' && typeof key === 'string') keys.add(key);
  return [...keys] as ActionKey[];
}

const CANCEL = 'cancel';

/** How often a run shows that it is alive, and checks whether it is asked to stop. */
const BEAT_MS = 2_000;
/** How long a run may be silent before it is taken for dead. */
const SILENT_MS = 20_000;
/** A heartbeat older than this is not watched: hosts' clocks differ by far less. */
const LONG_AGO_MS = 3600_000;

/**
 * Shows that a run is alive until `close` is called. `signal` is aborted once another process asks
 * the run to stop.
 */
export function openCoordinator(dir: string) {
  const cancelled = new AbortController();
  const beat = path.join(dir, BEAT_FILE);
  let count = 0;
  const tick = (): void => {
    if (existsSync(path.join(dir, CANCEL))) cancelled.abort();
    try {
      // Written in place and never cut short: a network file system shows other hosts a replaced
      // file late.
      const text = `${JSON.stringify({ count: ++count }).padEnd(40)}\n`;
      writeFileSync(beat, text, { flag: existsSync(beat) ? 'r+' : 'w' });
    } catch {
      // The disk is full, or the folder is gone: the run goes on, and seems to be silent.
    }
  };
  tick();
  const timer = setInterval(tick, BEAT_MS);
  timer.unref();
  return { signal: cancelled.signal, close: () => clearInterval(timer) };
}

/** Asks a run to stop, which it does within a few seconds if its process is alive. */
export const askToStop = (dir: string): void => writeFileSync(path.join(dir, CANCEL), '');

/** Returns the content of a run's heartbeat; null if there is none. */
function readBeat(dir: string): string | null {
  try {
    return readFileSync(path.join(dir, BEAT_FILE), 'utf8');
  } catch {
    return null;
  }
}

/** Whether a run's heartbeat stopped long ago; false if it never had one. */
function isLongSilent(dir: string): boolean {
  const beat = lstatSync(path.join(dir, BEAT_FILE), { throwIfNoEntry: false });
  return beat !== undefined && Date.now() - beat.mtimeMs > LONG_AGO_MS;
}

/**
 * Whether a run's process is alive, on any host. No two hosts' clocks are compared: the heartbeat
 * has to change while it is watched.
 * @param hasEnded whether to stop watching, because the run has ended
 * @param forMs how long the heartbeat is watched if it does not change
 */
export async function isBeating(
  dir: string,
  hasEnded: () => boolean,
  forMs = SILENT_MS,
): Promise<boolean> {
  if (isLongSilent(dir)) return false;
  const before = readBeat(dir),
    until = performance.now() + forMs;
  while (before !== null && performance.now() < until && !hasEnded()) {
    await sleep(250);
    if (readBeat(dir) !== before) return true;
  }
  return false;
}

export interface SweptRuns {
  /** The ids of the runs that were removed or, in a dry run, would be. */
  readonly swept: readonly string[];
  readonly kept: number;
  /** The number of kept runs that are running or, if they are on another host, may be. */
  readonly live: number;
  readonly pinned: number;
  /** How many runs were kept only because they were written to in the last days. */
  readonly young: number;
}

const DAY_MS = 24 * 3600 * 1000;
/**
 * For how many days after the last write to its folder a run of another host counts as running, if
 * it has not ended.
 */
const SILENT_DAYS = 30;

/**
 * Removes the folders of runs, but not of those that are running, pinned, among the `latest`, or
 * were written to in the last `days`.
 * @param root the store that holds the pins
 * @param runs the folder of the runs
 * @throws UserFault if a pin is damaged
 */
export function sweepRuns(
  root: string,
  runs: string,
  { latest, days }: RunsToKeep,
  dryRun: boolean,
): SweptRuns {
  const pins = new Set(readPins(root).map(({ of }) => of));
  const swept: string[] = [];
  let live = 0;
  let pinned = 0;
  let young = 0;
  let kept = 0;
  for (const [position, { id, dir }] of listRuns(runs).entries()) {
    const isLive = mayBeRunning(dir);
    const isPinned = pins.has(id);
    if (isLive) live++;
    if (isPinned) pinned++;
    const isHeld = isLive || isPinned || position < latest;
    if (isHeld || Date.now() - lastWritten(dir) <= days * DAY_MS) {
      kept++;
      if (!isHeld) young++;
      continue;
    }
    swept.push(id);
    if (dryRun) continue;
    // Renamed first, so that a sweep that is killed halfway leaves no partial run for `status` to
    // list.
    const aside = path.join(runs, `.swept-${id}`);
    renameSync(dir, aside);
    rmSync(aside, { recursive: true, force: true });
  }
  if (!dryRun) finishEarlierSweeps(runs);
  return { swept, kept, live, pinned, young };
}

/**
 * Whether a run has not ended and its process is alive or, where that can't be told, as on another
 * host, its folder was written to in the last SILENT_DAYS days. False if its journal can't be read
 * or has no `created` event.
 */
function mayBeRunning(dir: string): boolean {
  let events: readonly JsonObject[];
  try {
    ({ events } = readJournal(dir));
  } catch {
    return false; // no run writes to a journal that can't be read
  }
  if (events.some(({ event }) => event === 'ended')) return false;
  const created = events.find(({ event }) => event === 'created');
  if (created === undefined) return false;
  const state = processState(created);
  return (
    state === 'alive' ||
    (state === 'unknown' && Date.now() - lastWritten(dir) <= SILENT_DAYS * DAY_MS)
  );
}

/** Returns when the folder or a file in it was last written, in ms since 1970. */
function lastWritten(dir: string): number {
  return Math.max(
    lstatSync(dir).mtimeMs,
    ...readdirSync(dir).map(
      (name) => lstatSync(path.join(dir, name), { throwIfNoEntry: false })?.mtimeMs ?? 0,
    ),
  );
}

function finishEarlierSweeps(runs: string): void {
  for (const name of readdirOr(runs))
    if (name.startsWith('.swept-')) rmSync(path.join(runs, name), { recursive: true, force: true });
}
