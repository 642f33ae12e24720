/** Serves all browsers from one reader for each run and one for each stage. */
import { lstat } from 'node:fs/promises';
import path from 'node:path';
import type { Follower } from './follower.ts';
import { followRun } from './follower.ts';
import { isFolderInside } from './inside.ts';
import type { ResultsReader } from './results.ts';
import { createResultsReader } from './results.ts';
import { createRunLister, isRunName } from './run-list.ts';
import type { Shared } from './shared.ts';
import { createShared } from './shared.ts';
import type { StageFollower } from './stage-follower.ts';
import { followStage } from './stage-follower.ts';
import type { Stream } from './stream.ts';
import type { Results, Snapshot } from './wire.ts';

/** A run that a browser looks at. */
export interface Room {
  snapshot(): Snapshot;
  results(group: string): Promise<Results>;
  /** Whether the run has a stage of this id. */
  has(stage: string): boolean;
  /** Sends what happens after the event of this id. */
  follow(stream: Stream, after: string | null): void;
  /** Sends the details and the log of a stage; null for the log of the run. */
  watch(stream: Stream, stage: string | null): void;
  readonly leave: () => void;
}

export interface Rooms {
  list(stream: Stream): void;
  /** Returns null if there is no such run. */
  enter(run: string): Promise<Room | null>;
  close(): void;
}

export interface RoomsOptions {
  readonly runs: string;
  readonly store?: string;
  readonly onFault: (error: unknown) => void;
  readonly lookMs?: number;
}

/** The name of the reader of a run's own log, and the prefix of those of stages, before the id. */
const RUN_LOG = 'run',
  STAGE = 'stage ';

/** A run's reader, with those of its stages. */
interface Open {
  readonly follower: Follower;
  readonly stages: Shared<StageFollower>;
  readonly results: ResultsReader;
  close(): void;
}

export function openRooms({ runs, store, onFault, lookMs }: RoomsOptions): Rooms {
  const pace = lookMs === undefined ? {} : { lookMs };
  const followers = createShared((id) => followRun({ runs, id, onFault, ...pace }));
  const open = createShared((id): Open => {
    const held = followers.hold(id);
    const follower = held.value;
    const storeOf = (): string | null => store ?? follower.record.plan?.store ?? null;
    const stages = createShared((name) =>
      followStage({
        follower,
        stage: name === RUN_LOG ? null : name.slice(STAGE.length),
        store: storeOf(),
        onFault,
        ...pace,
      }),
    );
    return {
      follower,
      stages,
      results: createResultsReader(follower, storeOf),
      close() {
        stages.close();
        held.release();
      },
    };
  });
  const lister = createRunLister(runs, followers, onFault);
  return {
    list(stream) {
      stream.onEnd(
        lister.listen((list) => stream.send({ name: 'runs', data: JSON.stringify(list) })),
      );
    },
    async enter(run) {
      if (!isRunName(run) || !(await isFolderInside(runs, run))) return null;
      const journal = await lstat(path.join(runs, run, 'journal.jsonl')).catch(() => null);
      if (!journal?.isFile()) return null;
      const { value, release } = open.hold(run);
      await value.follower.look();
      return roomOf(value, release, onFault);
    },
    close() {
      lister.close();
      open.close();
      followers.close();
    },
  };
}

function roomOf(
  { follower, stages, results }: Open,
  leave: () => void,
  onFault: (error: unknown) => void,
): Room {
  return {
    snapshot: () => follower.snapshot(),
    results: (group) => results.read(group),
    has: (stage) => follower.record.indexOf(stage) !== undefined,
    follow: (stream, after) => stream.onEnd(follower.listen(after, stream.send)),
    watch(stream, stage) {
      const held = stages.hold(stage === null ? RUN_LOG : STAGE + stage);
      stream.onEnd(held.release);
      held.value.listen(stream.send).then((end) => stream.onEnd(end), onFault);
    },
    leave,
  };
}
