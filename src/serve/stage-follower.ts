/** Follows one stage of a run, or the run's own log. The end of a log is shown as text. */
import path from 'node:path';
import { lineReader, watchFolders, type Watching } from './files.ts';
import type { Follower, FollowOptions } from './follower.ts';
import { Curves, readCurves, readMetrics } from './stored.ts';
import type { StreamEvent } from './stream.ts';
import type { LogText, StageDetail, StageLinks } from './wire.ts';

const LOG_BYTES = 16 * 2 ** 20,
  LINE_BYTES = 256 * 1024;
const MOST_LINKS = 20;

type Listener = (event: StreamEvent) => void;

interface Stored {
  readonly key: string;
  readonly curves: Curves;
  readonly metrics: StageDetail['metrics'];
}

/** Sends listeners the log as it grows and, for a stage, its details whenever they change. */
export class StageFollower {
  readonly #listeners = new Set<Listener>();
  readonly #log = new LogBuffer();
  readonly #readLog: () => Promise<void>;
  readonly #watching: Watching;
  readonly #stopListening: () => void;
  #sentDetail = '';
  /** What was last read of the stage's entry in the store. */
  #stored: Stored | null = null;

  /**
   * @param stage the stage's id; null for the log of the run itself
   * @param store the store that the run's entries are in; null if the run recorded none
   */
  constructor(
    readonly follower: Follower,
    readonly stage: string | null,
    readonly store: string | null,
    { onFault, lookMs }: Pick<FollowOptions, 'onFault' | 'lookMs'>,
  ) {
    const { id, dir } = follower;
    this.#readLog = lineReader({
      file: {
        root: path.dirname(dir),
        names: stage === null ? [id, 'run.log'] : [id, 'logs', `${stage}.log`],
      },
      longest: LINE_BYTES,
      most: LOG_BYTES,
      onLine: (line) => this.#log.add(line),
      onLong: () => this.#log.add('… a line too long to be shown'),
      onRestart: () => this.#log.restart(),
      onCut: () => (this.#log.isCut = true),
    });
    this.#watching = watchFolders({
      dirs: [stage === null ? dir : path.join(dir, 'logs')],
      onFault,
      lookMs,
      read: () => this.#read(),
    });
    // The journal changes too, and its events are part of the details.
    this.#stopListening = follower.listen(() => void this.#watching.look());
  }

  /**
   * Calls `listener` with the detail (unless the log is the run's) and with the log, then with each
   * change. Returns a function that stops this.
   */
  async listen(listener: Listener): Promise<() => void> {
    await this.#watching.look();
    if (this.stage !== null) listener({ name: 'detail', data: this.#sentDetail });
    const text: LogText = { text: this.#log.text, anew: true, cut: this.#log.isCut };
    listener({ name: 'log', data: JSON.stringify(text) });
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#stopListening();
    this.#watching.close();
    this.#listeners.clear();
  }

  #send(name: string, data: string): void {
    for (const listener of this.#listeners) listener({ name, data });
  }

  async #read(): Promise<void> {
    await this.#readLog();
    const taken = this.#log.take();
    if (taken !== null) this.#send('log', JSON.stringify({ ...taken, cut: this.#log.isCut }));
    const detail = JSON.stringify(await this.#describe());
    if (detail === this.#sentDetail) return;
    this.#sentDetail = detail;
    this.#send('detail', detail);
  }

  /** Describes the stage; null for the log of the run, and while the run has no such stage. */
  async #describe(): Promise<StageDetail | null> {
    const { record } = this.follower; // another record after the journal was replaced
    const stage = this.stage === null ? undefined : record.stages[record.indexOf(this.stage) ?? -1];
    if (stage === undefined) return null;
    const stored = (this.#stored = await this.#readStored(stage.key));
    const curves = stored?.curves.all() ?? [];
    return {
      id: stage.id,
      attempts: stage.attempts,
      key: stage.key,
      failure: stage.failure,
      blockedBy: stage.by,
      reads: firstLinks(stage.inputs),
      readBy: firstLinks(stage.readers),
      metrics: stored?.metrics ?? [],
      curves: curves.length > 0 ? curves : this.#log.curves.all(),
    };
  }

  /** Returns what the store holds under a key; null if the key or the store is not known. */
  async #readStored(key: string | null): Promise<Stored | null> {
    const { store } = this;
    if (key === null || store === null) return null;
    if (this.#stored?.key === key) return this.#stored;
    const [curves, metrics] = await Promise.all([readCurves(store, key), readMetrics(store, key)]);
    return { key, curves, metrics: [...metrics] };
  }
}

const firstLinks = (stages: readonly number[]): StageLinks => ({
  stages: stages.slice(0, MOST_LINKS),
  count: stages.length,
});

const MOST_SHOWN = 64 * 1024;
const LONGEST_LINE = 2000;

/** Escape sequences that colour a terminal. */
const COLOURS = /\u001b\[[0-9;?]*[A-Za-z]/g;
/** Control characters, and characters that change the direction of text. */
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/**
 * Returns a line cut to a length, without terminal colours, and with a dot for each other character
 * that a page can't show.
 */
function cleanLine(line: string): string {
  const shown = line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)}… (cut)` : line;
  return shown.replace(COLOURS, '').replace(UNSEEN, '·');
}

/** Matches `TIME step 50 of 500: loss 0.21, learning rate 3e-5`. */
const STEP = /^\S+ step (\d+) of \d+: loss (\S+), learning rate \S+$/;
/** Matches an evaluation during training: `TIME step 50, accuracy 0.9375, loss 0.2110`. */
const EVALUATION = /^\S+ step (\d+)((?:, [a-z ]{1,40} -?[\d.e+-]+)+)$/;

/**
 * Adds the numbers in a line of a training's log to the curves. A line that matches neither STEP
 * nor EVALUATION adds none, and neither does a line of more than 400 characters.
 */
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

/** A log as it is shown: the end of its text, and curves of the numbers in the whole log. */
export class LogBuffer {
  text = '';
  /** Whether the log has more text, before `text`. */
  isCut = false;
  curves = new Curves();
  /** What was added since the last `take`, and whether it replaces `text`. */
  #fresh = '';
  #anew = true;

  /** Adds a line to the text, and the numbers in it to the curves. */
  add(line: string): void {
    addLoggedNumbers(line, this.curves);
    this.#fresh += `${cleanLine(line)}\n`;
    if (this.#fresh.length <= MOST_SHOWN) return;
    // More text came at once than is shown, and replaces all earlier text.
    this.#fresh = lastLines(this.#fresh);
    this.#anew = true;
    this.isCut = true;
    this.text = '';
  }

  /** Forgets everything, because the file was replaced. */
  restart(): void {
    this.text = this.#fresh = '';
    this.#anew = true;
    this.isCut = false;
    this.curves = new Curves();
  }

  /**
   * Returns the text that was added since the last call; `anew` if it replaces the text before.
   * Null if nothing has changed.
   */
  take(): { readonly text: string; readonly anew: boolean } | null {
    if (this.#fresh === '' && !this.#anew) return null;
    const taken = { text: this.#fresh, anew: this.#anew };
    this.text += this.#fresh;
    if (this.text.length > MOST_SHOWN) {
      this.text = lastLines(this.text);
      this.isCut = true;
    }
    this.#fresh = '';
    this.#anew = false;
    return taken;
  }
}

/**
 * Returns the end of a text that is longer than MOST_SHOWN: the whole lines of its last MOST_SHOWN
 * characters, or all of these characters if no line begins among them.
 */
function lastLines(text: string): string {
  const end = text.slice(-MOST_SHOWN);
  return end.slice(end.indexOf('\n') + 1);
}
