/** Follows one stage of a run, or the run's own log. */
import path from 'node:path';
import type { StreamEvent } from './backlog.ts';
import type { Follower } from './follower.ts';
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

export interface StageFollower {
  /** Calls `listener` with what there is, then with additions. Returns a function that stops it. */
  listen(listener: (event: Omit<StreamEvent, 'id'>) => void): Promise<() => void>;
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
  const { follower, stage, store, onFault, lookMs } = options;
  const { id, dir } = follower;
  const listeners = new Set<(event: Omit<StreamEvent, 'id'>) => void>();
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
  const recordOf = (): StageRecord | null =>
    stage === null ? null : (follower.record.stages[follower.record.indexOf(stage) ?? -1] ?? null);
  let detail = '';
  /** The curves and metrics of the stage in the store, read once for each key. */
  let stored: { readonly key: string; readonly curves: Curves; readonly metrics: Metrics } | null =
    null;
  type Metrics = StageDetail['metrics'];

  const readStored = async (key: string | null): Promise<typeof stored> => {
    if (key === null || store === null) return null;
    if (stored?.key === key) return stored;
    const [curves, metrics] = await Promise.all([readCurves(store, key), readMetrics(store, key)]);
    return { key, curves, metrics: [...metrics] };
  };
  const describe = async (): Promise<StageDetail | null> => {
    const record = recordOf();
    if (record === null) return null;
    stored = await readStored(record.key);
    const curves = stored?.curves.all() ?? [];
    return {
      id: record.id,
      attempts: record.attempts,
      key: record.key,
      failure: record.failure,
      blockedBy: record.by,
      reads: linksOf(record.inputs),
      readBy: linksOf(record.readers),
      metrics: stored?.metrics ?? [],
      curves: curves.length > 0 ? curves : log.curves.all(),
    };
  };
  const send = (name: string, data: string): void => {
    for (const listener of listeners) listener({ name, data });
  };
  const watching = watchFolders({
    dirs: [stage === null ? dir : path.join(dir, 'logs')],
    onFault,
    ...(lookMs === undefined ? {} : { lookMs }),
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

const linksOf = (stages: readonly number[]): StageLinks => ({
  stages: stages.slice(0, MOST_LINKS),
  count: stages.length,
});
