/** What a process leaves behind that ended without a word: scratch folders, claims, drafts. */
import { lstatSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { ActionKey } from '../plan/types.ts';
import type { Owner } from './owner.ts';
import { ownerName, ownerState, parseOwner } from './owner.ts';

export type OnTakeover = (key: ActionKey, owner: Owner) => void;

/** None where there is no such folder. */
export function readdirOr(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}

/**
 * After so long without a sign of life what another host's process (a container's, or one of before this host was started
 * anew) has left is swept. Its claims give way after 30 s already; its scratch waits longer, since a process that was only
 * stopped would lose what it is writing.
 */
export const ABANDONED_MS = 3600 * 1000;

/** Whether an owner is gone for good, so that what it left may go. @param file what it left */
type IsGone = (owner: Owner, file: string) => boolean;

/** @param leases the folder whose files' times are the owners' heartbeats, on the file system's own clock */
function goneBySigns(leases: string): IsGone {
  let now: number | undefined;
  let beats: Map<string, number> | undefined;
  const mtimeOf = (file: string): number =>
    lstatSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const look = (): Map<string, number> => {
    const found = new Map<string, number>();
    for (const name of readdirOr(leases)) {
      const owner = parseOwner(name.slice(name.indexOf('.') + 1));
      if (!owner) continue;
      const id = ownerName(owner);
      found.set(id, Math.max(found.get(id) ?? 0, mtimeOf(path.join(leases, name))));
    }
    return found;
  };
  const diskNow = (): number => {
    const clock = path.join(leases, `clock.${process.pid}`);
    writeFileSync(clock, '');
    const { mtimeMs } = lstatSync(clock);
    rmSync(clock, { force: true });
    return mtimeMs;
  };
  return (owner, file) => {
    const state = ownerState(owner);
    if (state !== 'unknown') return state === 'dead';
    beats ??= look();
    now ??= diskNow();
    return now - Math.max(beats.get(ownerName(owner)) ?? 0, mtimeOf(file)) > ABANDONED_MS;
  };
}

/** Removes the scratch folders, claims and signs of owners that are gone, in a store's folder. @param onTakeover told of claims */
export function sweepGone(root: string, onTakeover: OnTakeover | undefined): void {
  const leases = path.join(root, 'leases'),
    isGone = goneBySigns(leases);
  // Scratch first: the beats in `leases` are what tells of it.
  sweepScratch(path.join(root, 'tmp'), isGone);
  for (const name of readdirOr(leases)) {
    const at = name.indexOf('.'),
      owner = parseOwner(name.slice(at + 1)),
      file = path.join(leases, name);
    if (!owner || !isGone(owner, file)) continue;
    rmSync(file, { recursive: true, force: true });
    if (/^[0-9a-f]{64}\./.test(name)) onTakeover?.(name.slice(0, at) as ActionKey, owner);
  }
}

/** Removes the scratch folders of one owner, which is done with them. */
export const sweepOwn = (root: string, me: Owner): void =>
  sweepScratch(path.join(root, 'tmp'), (owner) => ownerName(owner) === ownerName(me));

function sweepScratch(dir: string, isGone: IsGone): void {
  for (const name of readdirOr(dir)) {
    const owner = parseOwner(name.slice(0, name.indexOf('.'))),
      scratch = path.join(dir, name);
    if (!owner || !isGone(owner, scratch)) continue;
    try {
      rmSync(scratch, { recursive: true, force: true });
    } catch (error) {
      // A worker outlives its scheduler by a moment, and may write meanwhile: the next sweep gets it.
      if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
    }
  }
}

/** A file is replaced by renaming a draft, `NAME.PID`: those of processes that are gone. */
export function sweepDrafts(dir: string): void {
  for (const name of readdirOr(dir)) {
    const pid = /\.(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && !isRunning(Number(pid))) rmSync(path.join(dir, name), { force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
