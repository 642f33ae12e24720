/** Follows one stage of a run, or the run's own log. The end of a log is shown as text. */
import path from 'node:path';
import { defined } from '../base/defined.ts';
import { openTail, watchFolders } from './files.ts';
import type { Follower } from './follower.ts';
import type { StageRecord } from './record.ts';
import { createCurves, type Curves, readCurves, readMetrics } from './stored.ts';
import type { StreamEvent } from './stream.ts';
import type { LogText, StageDetail, StageLinks } from './wire.ts';

const LOG_BYTES = 16 * 2 ** 20,
  LINE_BYTES = 256 * 1024;
const MOST_LINKS = 20;

type Listener = (event: Omit<StreamEvent, 'id'>) => void;

export interface StageFollower {
  /** Calls `listener` with what there is, then with additions. Returns a function to stop that. */
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

/** Sends listeners the log as it grows and, for a stage, its details whenever they change. */
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
  let sentDetail = '';
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
      if (described === sentDetail) return;
      sentDetail = described;
      send('detail', sentDetail);
    },
  });
  // The journal changes too, and its events are part of the details.
  const stopListening = follower.listen(null, () => void watching.look());
  return {
    async listen(listener) {
      await watching.look();
      if (stage !== null) listener({ name: 'detail', data: sentDetail });
      const text: LogText = { text: log.text, anew: true, cut: log.isCut };
      listener({ name: 'log', data: JSON.stringify(text) });
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      stopListening();
      watching.close();
      listeners.clear();
    },
  };
}

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
    const { record } = follower; // another record after the journal was replaced
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
}

const linksOf = (stages: readonly number[]): StageLinks => ({
  stages: stages.slice(0, MOST_LINKS),
  count: stages.length,
});

const MOST_SHOWN = 64 * 1024;
/** The number of characters to which a line is cut. */
const LONGEST_LINE = 2000;

interface LogBuffer {
  add(line: string): void;
  /** Forgets everything, because the file was replaced. */
  restart(): void;
  /** Notes that the file's beginning was not read. */
  cut(): void;
  /** The whole text that is shown, and whether earlier text was left out. */
  readonly text: string;
  readonly isCut: boolean;
  readonly curves: Curves;
  /** Returns what was added since the last call; `anew` if it replaces what came before. */
  take(): { readonly text: string; readonly anew: boolean } | null;
}

/** Escape sequences that colour a terminal. */
const COLOURS = /\u001b\[[0-9;?]*[A-Za-z]/g;
/** Control characters, and characters that change the direction of text. */
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** Returns a line cut to a length, with a dot for each character that a page can't show. */
function cleanLine(line: string): string {
  const shown = line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)}… (cut)` : line;
  return shown.replace(COLOURS, '').replace(UNSEEN, '·');
}

/** Matches `TIME step 50 of 500: loss 0.21, learning rate 3e-5`. */
const STEP = /^\S+ step (\d+) of \d+: loss (\S+), learning rate \S+$/;
/** Matches an evaluation during training: `TIME step 50, accuracy 0.9375, loss 0.2110`. */
const EVALUATION = /^\S+ step (\d+)((?:, [a-z ]{1,40} -?[\d.e+-]+)+)$/;

/** Adds the numbers of a line of the log of `train` to the curves. */
function addLoggedNumbers(line: string, curves: Curves): void {
  if (line.length > 400) return;
  const [, step, loss] = STEP.exec(line) ?? [];
  if (step !== undefined && loss !== undefined) {
    curves.add('loss', Number(step), Number(loss));
    return;
  }
  const [, evaluatedAt, values] = EVALUATION.exec(line) ?? [];
  if (evaluatedAt === undefined || values === undefined) return;
  for (const part of values.slice(2).split(', ')) {
    const space = part.lastIndexOf(' ');
    const name = part.slice(0, space);
    const curve = name === 'loss' ? 'validation loss' : name;
    curves.add(curve, Number(evaluatedAt), Number(part.slice(space)));
  }
}

export function createLogBuffer(): LogBuffer {
  let text = '',
    fresh = '',
    anew = true,
    isCut = false,
    curves = createCurves();
  return {
    add(line) {
      addLoggedNumbers(line, curves);
      fresh += `${cleanLine(line)}\n`;
      if (fresh.length <= MOST_SHOWN) return;
      // More text came at once than is shown, and replaces all earlier text.
      fresh = fresh.slice(fresh.indexOf('\n', fresh.length - MOST_SHOWN) + 1);
      anew = true;
      isCut = true;
      text = '';
    },
    restart() {
      text = fresh = '';
      anew = true;
      isCut = false;
      curves = createCurves();
    },
    cut() {
      isCut = true;
    },
    get text() {
      return text;
    },
    get isCut() {
      return isCut;
    },
    get curves() {
      return curves;
    },
    take() {
      if (fresh === '' && !anew) return null;
      const taken = { text: fresh, anew };
      text += fresh;
      if (text.length > MOST_SHOWN) {
        text = text.slice(text.indexOf('\n', text.length - MOST_SHOWN) + 1);
        isCut = true;
      }
      fresh = '';
      anew = false;
      return taken;
    },
  };
}
