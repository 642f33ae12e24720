/** Follows one stage of a run, or the run's own log. */
import path from 'node:path';
import { defined } from '../base/defined.ts';
import type { StreamEvent } from './backlog.ts';
import type { Follower } from './follower.ts';
import type { LogBuffer } from './log-text.ts';
import { createLogBuffer } from './log-text.ts';
import type { Curves } from './series.ts';
import type { StageRecord } from './stage-records.ts';
import { readCurves, readMetrics } from './stored.ts';
import { openTail } from './tail.ts';
import { watchFolders } from './watch.ts';
import type { LogText, StageDetail, StageLinks } from './wire.ts';

const LOG_BYTES = 16 * 2 ** 20,
  LINE_BYTES = 256 * 1024;
/** How many stages are listed at most as inputs of a stage, or as its readers. */
const MOST_LINKS = 20;

type Listener = (event: Omit<StreamEvent, 'id'>) => void;

export interface StageFollower {
  /** Calls `listener` with what there is, then with additions. Returns a function that stops it. */
  listen(listener: Listener): Promise<() => void>;
  close(): void;
}

export interface StageFollowOptions {
  readonly follower: Follower;
  /** The stage's id; null for the log of the run itself. */
  readonly stage: string | null;
  /** The store that the run's entries are in; null if the run recorded none. */
  readonly store: string | null;
  readonly onFault: (error: unknown) => void;
  readonly lookMs?: number;
}

export function followStage(options: StageFollowOptions): StageFollower {
  const { follower, stage, onFault, lookMs } = options;
  const { id, dir } = follower;
  const listeners = new Set<Listener>();
  const log = createLogBuffer();
  const names = stage === null ? [id, 'run.log'] : [id, 'logs', `${stage}.log`];
  const tail = openTail({
    file: { root: path.dirname(dir), names },
    longest: LINE_BYTES,
    most: LOG_BYTES,
    onLine: (line) => log.add(line),
    onLong: () => log.add('… a line too long to be shown'),
    onRestart: () => log.restart(),
    onCut: () => log.cut(),
  });
  const describe = createDescription(options, log);
  let detail = '';
  const send = (name: string, data: string): void => {
    for (const listener of listeners) listener({ name, data });
  };
  const watching = watchFolders({
    dirs: [stage === null ? dir : path.join(dir, 'logs')],
    onFault,
    ...defined({ lookMs }),
    read: async () => {
      await tail.read();
      const taken = log.take();
      if (taken !== null) send('log', JSON.stringify({ ...taken, cut: log.isCut }));
      const described = JSON.stringify(await describe());
      if (described === detail) return;
      detail = described;
      send('detail', detail);
    },
  });
  // The journal changes too, and its events are part of the details.
  const end = follower.listen(null, () => void watching.look());
  return {
    async listen(listener) {
      await watching.look();
      if (stage !== null) listener({ name: 'detail', data: detail });
      const text: LogText = { text: log.text, anew: true, cut: log.isCut };
      listener({ name: 'log', data: JSON.stringify(text) });
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      end();
      watching.close();
      listeners.clear();
    },
  };
}

/** The curves and metrics of a stage in the store. */
interface Stored {
  readonly key: string;
  readonly curves: Curves;
  readonly metrics: StageDetail['metrics'];
}

/**
 * Returns a function that describes the stage as it is now; null for the log of the run and for a
 * stage that the run does not have yet. What the store holds is read once for each key.
 */
function createDescription(
  { follower, stage, store }: StageFollowOptions,
  log: LogBuffer,
): () => Promise<StageDetail | null> {
  const recordOf = (): StageRecord | null => {
    const { record } = follower; // another one after the journal was replaced
    return stage === null ? null : (record.stages[record.indexOf(stage) ?? -1] ?? null);
  };
  let stored: Stored | null = null;
  const readStored = async (key: string | null): Promise<Stored | null> => {
    if (key === null || store === null) return null;
    if (stored?.key === key) return stored;
    const [curves, metrics] = await Promise.all([readCurves(store, key), readMetrics(store, key)]);
    return { key, curves, metrics: [...metrics] };
  };
  return async () => {
    const own = recordOf();
    if (own === null) return null;
    stored = await readStored(own.key);
    const curves = stored?.curves.all() ?? [];
    return {
      id: own.id,
      attempts: own.attempts,
      key: own.key,
      failure: own.failure,
      blockedBy: own.by,
      reads: linksOf(own.inputs),
      readBy: linksOf(own.readers),
      metrics: stored?.metrics ?? [],
      curves: curves.length > 0 ? curves : log.curves.all(),
    };
  };
}

const linksOf = (stages: readonly number[]): StageLinks => ({
  stages: stages.slice(0, MOST_LINKS),
  count: stages.length,
});
