/** `runs/ID/`: what a run was asked, on what it ran, and what happened: enough to repeat it elsewhere. */
import { closeSync, existsSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import type { JsonObject } from '../api.ts';
import { UserFault } from '../api.ts';
import { makeFolder } from '../store/folders.ts';
import { thisProcess } from '../store/owner.ts';
import { isUnreadable, readRegularText } from '../store/regular.ts';
import { seal, unseal } from '../store/sealed.ts';
import { readdirOr } from '../store/sweep.ts';

export interface RunFolder {
  readonly id: string;
  readonly dir: string;
  /** Appends an event to journal.jsonl. */
  record(event: JsonObject): void;
  close(): void;
}

export interface RunFolderContents {
  readonly specFile: string;
  readonly specText: string;
  /** The spec with its defaults, `--set` and axes. */
  readonly resolved: unknown;
  readonly environment: JsonObject;
  readonly argv: readonly string[];
}

/** Sorts by time; two runs in the same second differ by their process. */
const newId = (now: Date): string =>
  `${now.toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-')}-${process.pid}`;

/** @param tell of a journal that ends before the run does: the disk is full. @throws ErrnoException; nothing is left then */
export function createRunFolder(
  root: string,
  tell: (message: string) => void,
  contents: RunFolderContents,
): RunFolder {
  const id = newId(new Date());
  let dir = path.join(root, id);
  for (let n = 2; existsSync(dir); n++) dir = path.join(root, `${id}-${n}`);
  makeFolder(dir);
  let journal: number;
  try {
    writeFileSync(path.join(dir, 'spec.yaml'), contents.specText);
    writeFileSync(
      path.join(dir, 'resolved.json'),
      `${JSON.stringify(contents.resolved, null, 2)}\n`,
    );
    writeFileSync(
      path.join(dir, 'environment.json'),
      `${JSON.stringify(contents.environment, null, 2)}\n`,
    );
    journal = openSync(path.join(dir, 'journal.jsonl'), 'a');
  } catch (error) {
    rmSync(dir, { recursive: true, force: true }); // without a journal no command would ever show it
    throw error;
  }
  let whole = true;
  const record = (event: JsonObject): void => {
    if (!whole) return;
    try {
      writeSync(journal, `${seal({ time: new Date().toISOString(), ...event }, 8)}\n`);
    } catch (error) {
      if (!['ENOSPC', 'EDQUOT', 'EIO'].includes((error as NodeJS.ErrnoException).code ?? ''))
        throw error;
      whole = false;
      tell(
        `${dir}: the journal ends here, it can't be written (${String((error as NodeJS.ErrnoException).code)}); the run goes on`,
      );
    }
  };
  record({
    event: 'created',
    spec: contents.specFile,
    argv: contents.argv,
    pid: process.pid,
    ...thisProcess(),
  });
  return { id: path.basename(dir), dir, record, close: () => closeSync(journal) };
}

/** Newest first. */
export function listRuns(root: string): { readonly id: string; readonly dir: string }[] {
  return readdirOr(root)
    .filter((name) => existsSync(path.join(root, name, 'journal.jsonl')))
    .sort()
    .reverse()
    .map((id) => ({ id, dir: path.join(root, id) }));
}

/** The journal's events; a last line that a kill cut short is left out, and damaged ones are counted. @throws UserFault where it cannot be read */
export function readJournal(dir: string): {
  readonly events: readonly JsonObject[];
  readonly damaged: number;
} {
  const lines = textOf(path.join(dir, 'journal.jsonl')).split('\n');
  lines.pop();
  const events = lines.map((line) => unseal(line, 8)).filter((event) => event !== null);
  return { events, damaged: lines.length - events.length };
}

function textOf(file: string): string {
  try {
    return readRegularText(file);
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    throw new UserFault(
      `the journal ${file} can't be read (${String((error as NodeJS.ErrnoException).code)})`,
      'look at what stands there, or name another run',
    );
  }
}
