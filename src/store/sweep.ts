/** Removes what a process that was killed leaves behind: scratch folders, claims, drafts. */
import { lstatSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { isAlive } from '../base/processes.ts';
import { hasCode, orIfMissing } from '../base/system-error.ts';
import { ownNames } from '../base/untrusted/paths.ts';
import type { ActionKey } from '../plan/types.ts';
import { type Owner, ownerIn, ownerName, ownerState, parseOwner } from './owner.ts';

export type OnTakeover = (key: ActionKey, owner: Owner) => void;

/** Returns the names in a folder; [] if it does not exist. */
export const readdirOr = (dir: string): string[] => orIfMissing([], () => readdirSync(dir));

/**
 * How long (ms) a process on another host must give no sign of life before what it left is swept. A
 * container and an earlier boot of this host count as other hosts. Claims give way much earlier, by
 * their heartbeats. The time is long because a process that was only stopped would lose what it is
 * writing, and because time stamps are compared: the clocks of hosts differ by far less than this.
 */
export const ABANDONED_MS = 3600 * 1000;

/** Whether an owner is gone for good. @param file a file or folder that the owner left */
type IsGone = (owner: Owner, file: string) => boolean;

/**
 * Returns a function that tells which owners are gone. It asks the system about owners on this
 * host, and judges those on other hosts by the ages of their heartbeats and of what they left.
 */
function goneByTimes(leases: string): IsGone {
  let now: number | undefined;
  let beats: Map<string, number> | undefined;
  /** Returns a file's time stamp; 0 if it is missing. */
  const readMtime = (file: string): number =>
    lstatSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const readHeartbeats = (): Map<string, number> => {
    const found = new Map<string, number>();
    for (const name of readdirOr(leases)) {
      const owner = ownerIn(name);
      if (!owner) continue;
      const id = ownerName(owner);
      found.set(id, Math.max(found.get(id) ?? 0, readMtime(path.join(leases, name))));
    }
    return found;
  };
  /** Writes a file and returns its time stamp, which is the time by the file system's own clock. */
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
    beats ??= readHeartbeats();
    now ??= diskNow();
    return now - Math.max(beats.get(ownerName(owner)) ?? 0, readMtime(file)) > ABANDONED_MS;
  };
}

/**
 * Removes the scratch folders, claims, markers and heartbeats of owners that are gone.
 * @param root the store's folder
 * @param onTakeover called for each claim that is removed
 */
export function sweepGone(root: string, onTakeover: OnTakeover | undefined): void {
  const leases = path.join(root, 'leases'),
    names = ownNames(root, 'leases'),
    isGone = goneByTimes(leases);
  // Scratch folders go first, while the heartbeats in `leases` still tell who is gone.
  sweepScratch(root, isGone);
  for (const name of names) {
    const at = name.indexOf('.'),
      owner = ownerIn(name),
      file = path.join(leases, name);
    if (!owner || !isGone(owner, file)) continue;
    rmSync(file, { recursive: true, force: true });
    if (/^[0-9a-f]{64}\./.test(name)) onTakeover?.(name.slice(0, at) as ActionKey, owner);
  }
}

export const sweepOwn = (root: string, me: Owner): void =>
  sweepScratch(root, (owner) => ownerName(owner) === ownerName(me));

function sweepScratch(root: string, isGone: IsGone): void {
  for (const name of ownNames(root, 'tmp')) {
    const owner = parseOwner(name.slice(0, name.indexOf('.'))),
      scratch = path.join(root, 'tmp', name);
    if (!owner || !isGone(owner, scratch)) continue;
    try {
      rmSync(scratch, { recursive: true, force: true });
    } catch (error) {
      // A worker that outlives its scheduler may still be writing. The next sweep removes it.
      if (!hasCode(error, 'ENOTEMPTY')) throw error;
    }
  }
}

/** Removes drafts of dead processes: files `NAME.PID`, which replace NAME by being renamed. */
export function sweepDrafts(root: string, ...parts: readonly string[]): void {
  for (const name of ownNames(root, ...parts)) {
    const pid = /\.(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid)))
      rmSync(path.join(root, ...parts, name), { force: true });
  }
}
