/** Follows one run by its files, and sends what has changed to any number of listeners. */
import path from 'node:path';
import { findExcess } from '../base/untrusted/json.ts';
import { BEAT_FILE } from '../run/log/run-folder.ts';
import { parseRunPlan, PLAN_FILE, PROGRESS_FILE } from '../run/log/run-plan.ts';
import { processState } from '../store/owner.ts';
import { unseal } from '../store/sealed.ts';
import { type Inside, lineReader, readInside, watchFolders, type Watching } from './files.ts';
import { Projection } from './projection.ts';
import { MOST_STAGES, RunRecord } from './record.ts';
import type { StreamEvent } from './stream.ts';
import type { Changes, RunFacts, Snapshot } from './wire.ts';

const MB = 2 ** 20;
/** The most bytes that are read of a file, and of a line of the journal. */
const PLAN_BYTES = 64 * MB,
  PROGRESS_BYTES = 8 * MB,
  JOURNAL_BYTES = 512 * MB,
  BEAT_BYTES = 1024,
  LINE_BYTES = MB;
/** The most lines of a journal that are read: a stage has a few events. */
const JOURNAL_LINES = 10 * MOST_STAGES;
/**
 * What the JSON of a whole file, and of a line, may hold (`findExcess`). Per stage, a plan has some
 * 10 values and 2 lists, but no object with names: only its groups of stages are objects.
 */
const FILE_LIMITS = { values: 40 * MOST_STAGES, lists: 4 * MOST_STAGES, names: MOST_STAGES },
  LINE_LIMITS = { values: 10_000, names: 1000 };

export interface FollowOptions {
  readonly runs: string;
  /** Called with errors that are not a browser's fault. */
  readonly onFault: (error: unknown) => void;
  /** The time between two looks at files without a notification, in milliseconds. */
  readonly lookMs?: number;
}

type Listener = (event: StreamEvent) => void;

/**
 * Reads a run's files whenever they change. When its plan has been read, the journal is read again
 * from its start.
 */
export class Follower {
  readonly dir: string;
  readonly #runs: string;
  readonly #listeners = new Set<Listener>();
  readonly #pulse = new Pulse();
  readonly #watching: Watching;
  #projection: Projection;
  #readJournal: () => Promise<void>;
  /** The id of the latest event. */
  #latest = 0;
  #planState: 'missing' | 'read' | 'refused' = 'missing';

  constructor(
    readonly id: string,
    { runs, onFault, lookMs }: FollowOptions,
  ) {
    this.dir = path.join(runs, id);
    this.#runs = runs;
    this.#projection = new Projection(id, new RunRecord(null));
    this.#readJournal = this.#journalReader();
    this.#watching = watchFolders({ dirs: [this.dir], onFault, lookMs, read: () => this.#read() });
  }

  /**
   * What the files say about the run. Once the plan has been read, or the journal was replaced,
   * this is a new object.
   */
  get record(): RunRecord {
    return this.#projection.record;
  }

  look(): Promise<void> {
    return this.#watching.look();
  }

  facts(): RunFacts {
    return this.#projection.facts();
  }

  /**
   * Returns all that is shown of the run. Events with a larger id than `at` tell what has changed
   * since.
   */
  snapshot(): Snapshot {
    return { at: this.#latest, ...this.#projection.snapshot() };
  }

  /**
   * Sends `reset`, which asks for a snapshot, then each event. Returns a function that stops this.
   */
  listen(listener: Listener): () => void {
    listener({ id: this.#latest, name: 'reset', data: '{}' });
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#watching.close();
    this.#listeners.clear();
  }

  #tell(name: 'changes' | 'reset', value: Changes): void {
    const event = { id: ++this.#latest, name, data: JSON.stringify(value) };
    for (const listener of this.#listeners) listener(event);
  }

  #inside(name: string): Inside {
    return { root: this.#runs, names: [this.id, name] };
  }

  /**
   * Returns a function that reads the journal from its start at the first call, and at later calls
   * what it has gained. A line that is no event with a valid checksum counts as damaged.
   */
  #journalReader(): () => Promise<void> {
    return lineReader({
      file: this.#inside('journal.jsonl'),
      longest: LINE_BYTES,
      most: JOURNAL_BYTES,
      mostLines: JOURNAL_LINES,
      onFull: () => this.#note(`the journal is followed for ${JOURNAL_LINES} lines, and has more`),
      onLong: () => this.#projection.damaged++,
      onRestart: () => this.#restart(this.record.plan),
      onLine: (line) => {
        const event = findExcess(line, LINE_LIMITS) === null ? unseal(line, 8) : null;
        if (event === null) this.#projection.damaged++;
        else this.record.apply(event);
      },
    });
  }

  #note(message: string): void {
    this.record.apply({ event: 'note', message });
  }

  /**
   * Replaces the run's record by a new one with this plan (null for none), and makes listeners ask
   * for a snapshot.
   */
  #restart(plan: RunRecord['plan']): void {
    this.#projection = new Projection(this.id, new RunRecord(plan));
    this.#tell('reset', {});
  }

  async #read(): Promise<void> {
    await this.#readPlan();
    await this.#readJournal();
    await this.#readProgress();
    await this.#readBeat();
    const changes = this.#projection.takeChanges();
    if (changes !== null) this.#tell('changes', changes);
  }

  /** Reads the plan as soon as it is there, once. The journal is then read again from its start. */
  async #readPlan(): Promise<void> {
    if (this.#planState !== 'missing') return;
    const text = await readInside(this.#inside(PLAN_FILE), PLAN_BYTES);
    if (text === null) return;
    const excess = findExcess(text, FILE_LIMITS);
    const plan = excess === null ? parseRunPlan(text, MOST_STAGES) : null;
    this.#planState = plan === null ? 'refused' : 'read';
    if (excess !== null) this.#note(`the run's plan is left out: it ${excess}`);
    if (plan === null) return;
    this.#restart(plan);
    this.#readJournal = this.#journalReader(); // what was read before is read again
  }

  /** Reads how far running stages are, and which machine or job has each; nothing if none runs. */
  async #readProgress(): Promise<void> {
    const { record } = this;
    if (!record.stages.some(({ state }) => state === 'running')) return;
    const text = await readInside(this.#inside(PROGRESS_FILE), PROGRESS_BYTES);
    const found =
      text === null || findExcess(text, FILE_LIMITS) !== null ? null : unseal(text.trimEnd());
    record.progress(found?.['stages']);
    record.places(found?.['places']);
  }

  /**
   * Sets `pulse` of the record while the run has not ended and its process can't be seen from this
   * machine.
   */
  async #readBeat(): Promise<void> {
    const { record } = this;
    if (record.end !== null || processState(record.process) !== 'unknown') return;
    record.pulse = this.#pulse.look(await readInside(this.#inside(BEAT_FILE), BEAT_BYTES));
  }
}

/**
 * How long a heartbeat's file may stay unchanged before the run counts as silent. A run writes it
 * every two seconds.
 */
const SILENT_MS = 20_000;

/** Times a heartbeat by this process's monotonic clock alone: other machines' clocks may differ. */
export class Pulse {
  #last: string | null | undefined;
  #since = 0;
  #hasChanged = false;

  constructor(readonly now: () => number = () => performance.now()) {}

  /**
   * Takes the heartbeat file's content (null if there is none). Returns null until it can tell
   * whether the run is beating.
   */
  look(beat: string | null): 'beating' | 'silent' | null {
    if (beat !== this.#last) {
      this.#hasChanged = this.#last !== undefined && beat !== null;
      this.#last = beat;
      this.#since = this.now();
    }
    if (this.now() - this.#since >= SILENT_MS) return 'silent';
    return this.#hasChanged ? 'beating' : null;
  }
}
