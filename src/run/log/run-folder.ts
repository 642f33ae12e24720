/**
 * The folder of a run, `runs/ID/`: its spec and options, its environment, and what happened. This
 * is enough to repeat the run elsewhere.
 */
import { closeSync, existsSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { type JsonObject, UserFault } from '../../api.ts';
import { errorCode } from '../../store/faults.ts';
import { makeFolder } from '../../store/folders.ts';
import { thisProcess } from '../../store/owner.ts';
import { isUnreadable, readRegularText } from '../../store/regular.ts';
import { seal, unseal } from '../../store/sealed.ts';
import { readdirOr } from '../../store/sweep.ts';

/** The heartbeat: its content changes as long as the run's process is alive. */
export const BEAT_FILE = 'beat.json';

export type RunFolder = ReturnType<typeof createRunFolder>;

export interface RunFolderContents {
  readonly specFile: string;
  readonly specText: string;
  /** The spec with defaults and `--set` applied, its axes not expanded. */
  readonly resolved: unknown;
  readonly environment: JsonObject;
  readonly argv: readonly string[];
  /** The notes on the run, and those of the spec. */
  readonly notes: string;
}

/** Ids sort by time; two runs of the same second differ by their process. */
const newId = (now: Date): string =>
  `${now.toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-')}-${process.pid}`;

/**
 * Makes a folder for a new run. Leaves nothing behind if it throws.
 * @param tell called if the journal ends before the run does
 */
export function createRunFolder(
  root: string,
  tell: (message: string) => void,
  contents: RunFolderContents,
) {
  const id = newId(new Date());
  let dir = path.join(root, id);
  for (let n = 2; existsSync(dir); n++) dir = path.join(root, `${id}-${n}`);
  makeFolder(dir);
  let journal: number;
  try {
    writeFileSync(path.join(dir, 'spec.yaml'), contents.specText);
    writeJson(path.join(dir, 'resolved.json'), contents.resolved);
    writeJson(path.join(dir, 'environment.json'), contents.environment);
    journal = openSync(path.join(dir, 'journal.jsonl'), 'a');
  } catch (error) {
    rmSync(dir, { recursive: true, force: true }); // no command would show a run without a journal
    throw error;
  }
  let isComplete = true;
  /** Appends to journal.jsonl. On a full disk the journal ends, but the run goes on. */
  const record = (event: JsonObject): void => {
    if (!isComplete) return;
    try {
      writeSync(journal, `${seal({ time: new Date().toISOString(), ...event }, 8)}\n`);
    } catch (error) {
      const code = errorCode(error) ?? '';
      if (!['ENOSPC', 'EDQUOT', 'EIO'].includes(code)) throw error;
      isComplete = false;
      tell(`${dir}: the journal ends here, it can't be written (${code}); the run goes on`);
    }
  };
  record({
    event: 'created',
    spec: contents.specFile,
    argv: contents.argv,
    ...(contents.notes === '' ? {} : { notes: contents.notes }),
    pid: process.pid,
    ...thisProcess(),
  });
  return { id: path.basename(dir), dir, record, close: () => closeSync(journal) };
}

const writeJson = (file: string, value: unknown): void =>
  writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);

/** Returns the runs that have a journal, newest first. */
export function listRuns(root: string): { readonly id: string; readonly dir: string }[] {
  return readdirOr(root)
    .filter((name) => existsSync(path.join(root, name, 'journal.jsonl')))
    .sort()
    .reverse()
    .map((id) => ({ id, dir: path.join(root, id) }));
}

/**
 * Reads a run's journal. Leaves out a last line that was cut short, and counts damaged lines.
 * Throws a UserFault if the journal can't be read.
 */
export function readJournal(dir: string): {
  readonly events: readonly JsonObject[];
  readonly damaged: number;
} {
  const lines = readJournalText(path.join(dir, 'journal.jsonl')).split('\n');
  lines.pop();
  const events = lines.map((line) => unseal(line, 8)).filter((event) => event !== null);
  return { events, damaged: lines.length - events.length };
}

/** Reads the text of a journal. Throws a UserFault if it can't be read. */
function readJournalText(file: string): string {
  try {
    return readRegularText(file);
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    throw new UserFault(
      `the journal ${file} can't be read (${String((error as NodeJS.ErrnoException).code)})`,
      'look at what is there, or name another run',
    );
  }
}
