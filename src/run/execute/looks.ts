/**
 * Looks at files. As in git's index, a file's inode, size and times tell whether it was written to
 * since, provided that it was old enough when it was looked at. File systems stamp times in steps
 * (`TICK_MS`), so two writes within one step may leave the same times.
 */
import type { Stats } from 'node:fs';
import { lstatSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import type { OutputFile } from '../../api.ts';
import { at } from '../../base/lookup.ts';
import { TICK_MS } from '../../store/files.ts';
import type { Entry } from '../../store/types.ts';

/** The stats of a file at one moment. */
export interface Look {
  readonly ino: number;
  readonly size: number;
  readonly mtime: number;
  readonly ctime: number;
  /** Whether the content is known to be right and every later write would change these stats. */
  readonly sure: boolean;
  /**
   * Whether the content is known to be right. Any later write would change these stats, unless it
   * came within a tick of `ctime` and set the mtime back. So the look is sure for a reader that
   * starts after that tick.
   */
  readonly hashed: boolean;
}

/**
 * Looks by path. A map is never mutated, only replaced, because a stage keeps the map from its
 * start.
 */
export type Looks = ReadonlyMap<string, Look>;
export const noLooks: Looks = new Map();

export const lookOf = (
  { ino, size, mtimeMs, ctimeMs }: Stats,
  { sure, hashed = sure }: Pick<Look, 'sure'> & Partial<Pick<Look, 'hashed'>>,
): Look => ({ ino, size, mtime: mtimeMs, ctime: ctimeMs, sure, hashed });

export const isOld = ({ mtimeMs, ctimeMs }: Stats): boolean =>
  Math.max(mtimeMs, ctimeMs) < Date.now() - TICK_MS;

/**
 * Whether the file was overwritten or replaced by another. A ctime that alone differs says less:
 * the mode was changed, or the times were set.
 */
export const isWritten = (then: Look, now: Stats): boolean =>
  then.ino !== now.ino || then.size !== now.size || then.mtime !== now.mtimeMs;

export const isSame = (then: Look, now: Stats): boolean =>
  !isWritten(then, now) && then.ctime === now.ctimeMs;

export const isUnchanged = (then: Looks, now: ReadonlyMap<string, Stats>): boolean =>
  then.size === now.size &&
  [...then].every(([name, look]) => {
    const stat = now.get(name);
    return look.sure && stat !== undefined && isSame(look, stat);
  });

/**
 * Returns the looks, with those that are old enough for a reader that starts now marked as sure.
 */
export function sureByNow(looks: Looks): Looks {
  const tickAgo = Date.now() - TICK_MS;
  const matured = ({ sure, hashed, ctime }: Look): boolean => !sure && hashed && ctime < tickAgo;
  let some = false;
  for (const look of looks.values()) some ||= matured(look);
  if (!some) return looks;
  return new Map(
    [...looks].map(([name, look]) => [name, matured(look) ? { ...look, sure: true } : look]),
  );
}

/** Returns what the look-up of an entry saw of its files, whose content nobody has checked yet. */
export function looksOfLookUp({ manifest: { files }, seen }: Entry): Looks {
  if (seen === undefined) return noLooks;
  const looks = new Map<string, Look>();
  for (let i = 0; i < files.length; i++)
    looks.set(at(files, i).path, {
      ino: at(seen, 4 * i),
      size: at(seen, 4 * i + 1),
      mtime: at(seen, 4 * i + 2),
      ctime: at(seen, 4 * i + 3),
      sure: false,
      hashed: false,
    });
  return looks;
}

/**
 * Returns looks at outputs whose times were set back before they were hashed (`digestOutputs`). A
 * file that has been written to since has the time of that write and is left out.
 */
export function looksAtOutputs(dir: string, files: readonly OutputFile[]): Looks {
  const looks = new Map<string, Look>();
  for (const { path: name, size } of files) {
    const stat = lstatSync(`${dir}/${name}`, { throwIfNoEntry: false });
    if (stat?.isFile() && stat.size === size && stat.mtimeMs < stat.ctimeMs - TICK_MS)
      looks.set(name, lookOf(stat, { sure: false, hashed: true }));
  }
  return looks;
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
