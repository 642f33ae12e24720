/**
 * Leases: one process makes an entry at a time, and a dead one's claim needs no manual unlock.
 *
 * A claim is a file `leases/KEY.OWNER`. To take a lease: make the claim, list the claims of the key; alone → held, else
 * withdraw. Two holders are impossible: the later of two claims was made before its owner listed, when the earlier
 * one stood there already. A dead owner's claim may be removed by anyone, since its owner's name never comes back.
 *
 * Claims are links to one file, `leases/OWNER`: a file made and removed for each would cost more than a small stage,
 * and ext4 without a journal looks at every file removed in the last minutes before it makes another.
 */
import {
  closeSync,
  existsSync,
  linkSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import type { ActionKey } from '../plan/types.ts';
import { diskFault, isDiskFault } from './faults.ts';
import type { Owner } from './owner.ts';
import { ownerName, ownerState, parseOwner } from './owner.ts';

/** How often held claims are touched, and how long another host's claim may stay untouched. */
const HEARTBEAT_MS = 5_000;
export const SILENT_MS = 30_000;

export interface Lease {
  /**
   * Whether the claim is still there. A process that was stopped for longer than `SILENT_MS` may have lost it to another
   * host's: so a holder asks before it publishes.
   */
  stands(): boolean;
  release(): void;
}

export type LeaseAttempt = { readonly held: Lease } | { readonly by: Owner };

export interface Leases {
  /** Never waits: a lease, or who has it. */
  take(key: ActionKey): LeaseAttempt;
  /** Stops the heartbeat and gives back what is still held. */
  close(): void;
}

/** `rmSync` with `force` takes several times as long. What a disk keeps counts no longer than this process lives, and is no second fault. */
function remove(claim: string): void {
  try {
    unlinkSync(claim);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' && !isDiskFault(diskFault(error, claim)))
      throw error;
  }
}

/** Whether it was made. Where it wasn't, a file in its place tells what is wrong with the disk. */
function link(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EEXIST'; // the name is ours alone: a network file system answered late
  }
}

export function openLeases(
  dir: string,
  me: Owner,
  onTakeover: (key: ActionKey, owner: Owner) => void = () => undefined,
): Leases {
  const mine = ownerName(me),
    beat = path.join(dir, mine);
  const held = new Map<string, ActionKey>();
  /** Whether the file system has hard links; where it has none, each claim is a file of its own. */
  let links = true;
  /** Other hosts' claims: the heartbeat last seen and when, on this process's monotonic clock, for a file system whose clock was put back. */
  const seen = new Map<string, { readonly beat: number; readonly at: number }>();

  const timer = setInterval(() => {
    if (links) touch(beat);
    else for (const file of held.keys()) touch(file);
  }, HEARTBEAT_MS);
  timer.unref();

  const make = (claim: string): void => {
    if (links && !link(beat, claim)) {
      writeFileSync(beat, BEAT); // not there yet, or someone has cleared the folder
      links = link(beat, claim);
    }
    if (!links) writeFileSync(claim, BEAT);
  };

  const stale = (file: string, owner: Owner, claim: string): boolean => {
    const state = ownerState(owner);
    if (state !== 'unknown') return state === 'dead';
    const beat = statSync(file, { throwIfNoEntry: false })?.mtimeMs;
    if (beat === undefined) return false; // withdrawn meanwhile: the next attempt will see
    // Both times are the file system's own.
    touch(claim);
    const diskNow = statSync(claim).mtimeMs;
    if (diskNow - beat > SILENT_MS) return true;
    const before = seen.get(file),
      now = performance.now();
    if (before?.beat !== beat) {
      seen.set(file, { beat, at: now });
      return false;
    }
    return now - before.at > SILENT_MS;
  };

  return {
    take(key) {
      const claim = path.join(dir, `${key}.${mine}`);
      if (held.has(claim)) return { by: me };
      make(claim);
      for (const name of readdirSync(dir)) {
        if (!name.startsWith(`${key}.`) || name === `${key}.${mine}`) continue;
        const owner = parseOwner(name.slice(key.length + 1)),
          file = path.join(dir, name);
        if (!owner) continue;
        if (stale(file, owner, claim)) {
          rmSync(file, { force: true });
          onTakeover(key, owner);
        } else {
          remove(claim);
          return { by: owner };
        }
      }
      held.set(claim, key);
      return {
        held: {
          stands: () => existsSync(claim),
          release: () => {
            held.delete(claim);
            remove(claim);
          },
        },
      };
    },
    close() {
      clearInterval(timer);
      for (const claim of held.keys()) remove(claim);
      held.clear();
      remove(beat);
    },
  };
}

/** What a claim holds; its name says everything. */
const BEAT = 'held\n';

/** Written, not set: the time is the file system's own, so that no two hosts' clocks need agree. A claim that was taken over stays gone. */
function touch(file: string): void {
  try {
    const handle = openSync(file, 'r+');
    try {
      writeSync(handle, BEAT, 0);
    } finally {
      closeSync(handle);
    }
  } catch (error) {
    // A heart that misses beats on a full disk costs work done twice at worst.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' && !isDiskFault(diskFault(error, file)))
      throw error;
  }
}
