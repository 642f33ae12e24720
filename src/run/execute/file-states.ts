/**
 * The states of files. As in git's index, a file's inode, size and times tell whether it was written
 * to since, provided that it was old enough when it was looked at. File systems stamp times in
 * steps (`TICK_MS`), so two writes within one step may leave the same times.
 */
import type { Stats } from 'node:fs';
import { lstatSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import type { OutputFile } from '../../api.ts';
import { at } from '../../base/lookup.ts';
import { TICK_MS } from '../../store/files.ts';
import type { Entry } from '../../store/manifest.ts';

/** The stats of a file at one moment. */
export interface FileState {
  readonly ino: number;
  readonly size: number;
  readonly mtime: number;
  readonly ctime: number;
  /** Whether the content is known to be right and every later write would change these stats. */
  readonly sure: boolean;
  /**
   * Whether the content is known to be right. Any later write would change these stats, unless it
   * came within a tick of `ctime` and set the mtime back. So the state is sure for a reader that
   * starts after that tick.
   */
  readonly hashed: boolean;
}

/**
 * States by path. A map is never mutated, only replaced, because a stage keeps the map from its
 * start.
 */
export type FileStates = ReadonlyMap<string, FileState>;
export const noStates: FileStates = new Map();

export const fileState = (
  { ino, size, mtimeMs, ctimeMs }: Stats,
  { sure, hashed = sure }: Pick<FileState, 'sure'> & Partial<Pick<FileState, 'hashed'>>,
): FileState => ({ ino, size, mtime: mtimeMs, ctime: ctimeMs, sure, hashed });

export const isOld = ({ mtimeMs, ctimeMs }: Stats): boolean =>
  Math.max(mtimeMs, ctimeMs) < Date.now() - TICK_MS;

/**
 * Whether the file was overwritten or replaced by another. A ctime that alone differs says less:
 * the mode was changed, or the times were set.
 */
export const isWritten = (then: FileState, now: Stats): boolean =>
  then.ino !== now.ino || then.size !== now.size || then.mtime !== now.mtimeMs;

export const isSame = (then: FileState, now: Stats): boolean =>
  !isWritten(then, now) && then.ctime === now.ctimeMs;

export const isUnchanged = (then: FileStates, now: ReadonlyMap<string, Stats>): boolean =>
  then.size === now.size &&
  [...then].every(([name, state]) => {
    const stat = now.get(name);
    return state.sure && stat !== undefined && isSame(state, stat);
  });

/**
 * Returns the states, with those that are old enough for a reader that starts now marked as sure.
 */
export function sureByNow(states: FileStates): FileStates {
  const tickAgo = Date.now() - TICK_MS;
  const matured = ({ sure, hashed, ctime }: FileState): boolean =>
    !sure && hashed && ctime < tickAgo;
  let some = false;
  for (const state of states.values()) some ||= matured(state);
  if (!some) return states;
  return new Map(
    [...states].map(([name, state]) => [name, matured(state) ? { ...state, sure: true } : state]),
  );
}

/** Returns what the look-up of an entry saw of its files, whose content nobody has checked yet. */
export function statesAtLookUp({ manifest: { files }, seen }: Entry): FileStates {
  if (seen === undefined) return noStates;
  const states = new Map<string, FileState>();
  for (let i = 0; i < files.length; i++)
    states.set(at(files, i).path, {
      ino: at(seen, 4 * i),
      size: at(seen, 4 * i + 1),
      mtime: at(seen, 4 * i + 2),
      ctime: at(seen, 4 * i + 3),
      sure: false,
      hashed: false,
    });
  return states;
}

/**
 * Returns the states of outputs whose times were set back before they were hashed
 * (`digestOutputs`). A file that has been written to since has the time of that write and is left
 * out.
 */
export function statesOfOutputs(dir: string, files: readonly OutputFile[]): FileStates {
  const states = new Map<string, FileState>();
  for (const { path: name, size } of files) {
    const stat = lstatSync(`${dir}/${name}`, { throwIfNoEntry: false });
    if (stat?.isFile() && stat.size === size && stat.mtimeMs < stat.ctimeMs - TICK_MS)
      states.set(name, fileState(stat, { sure: false, hashed: true }));
  }
  return states;
}

/**
 * Returns every file of a source by its path below the root ('' if the source is a file). Links are
 * followed. Hidden files are not part of a source.
 */
export function filesOfSource(root: string): ReadonlyMap<string, Stats> {
  const found = new Map<string, Stats>(),
    entered = new Set<number>();
  const visit = (full: string, name: string): void => {
    const stat = statSync(full, { throwIfNoEntry: false });
    if (stat === undefined) return;
    if (!stat.isDirectory()) {
      found.set(name, stat);
      return;
    }
    if (entered.has(stat.ino)) return;
    entered.add(stat.ino);
    for (const child of readdirSync(full))
      if (!child.startsWith('.'))
        visit(path.join(full, child), name === '' ? child : `${name}/${child}`);
  };
  visit(root, '');
  return found;
}
