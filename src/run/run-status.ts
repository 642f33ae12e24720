/** Reads the status of a run, from its folder alone. */
import path from 'node:path';
import type { JsonObject } from '../api.ts';
import type { ActionKey } from '../plan/types.ts';
import { processState } from '../store/owner.ts';
import { readRegularOr } from '../store/regular.ts';
import { isBeating } from './coordinator.ts';
import { readJournal } from './log/run-folder.ts';
import { parseRunPlan, PLAN_FILE } from './log/run-plan.ts';

export interface RunStatus {
  readonly run: string;
  /**
   * The state of the run. `unknown` means that it has not ended, and that its process is on another
   * machine, where only its heartbeat shows whether it is alive; `silent`, that its heartbeat was
   * watched and has stopped.
   */
  readonly state: 'running' | 'done' | 'failed' | 'interrupted' | 'killed' | 'silent' | 'unknown';
  readonly spec: string;
  /** The notes on the run, and those of its spec; null if there are none. */
  readonly notes: string | null;
  /** The time at which it was started; null if its journal does not say. */
  readonly started: string | null;
  /** The machine that its process is on, or was on; null if its journal does not say. */
  readonly host: string | null;
  /** The time of the last event of its journal, by the clock of that machine. */
  readonly heard: string | null;
  /** How many seconds it took; null while it runs, and if it was killed. */
  readonly seconds: number | null;
  /** How many stages were to run, and how many ended in each state. */
  readonly stages: { readonly [state: string]: number };
  readonly running: readonly string[];
  readonly failed: readonly { readonly stage: string; readonly error: string }[];
  /** The number of damaged lines in the journal. They are left out. */
  readonly damaged: number;
}

const UNENDED = { alive: 'running', dead: 'killed', unknown: 'unknown' } as const;

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

/**
 * How long the heartbeat of a run of another machine is watched. It beats every two seconds, unless
 * its machine or the file system is very slow.
 */
const WATCH_MS = 10_000;

/**
 * Like `runStatus`, for several runs, and watches the heartbeats of those on other machines. Takes
 * up to 10 s if one of them is silent.
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

const textOr = <T>(value: unknown, other: T): string | T =>
  typeof value === 'string' ? value : other;

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

/**
 * Returns the keys of what the run found in the store when it began, and of what it made or found
 * later. Returns a reason if they are not known.
 */
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
