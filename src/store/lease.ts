/**
 * Leases: only one process makes an entry at a time, and the claims of a dead process need no
 * manual unlock.
 *
 * A claim is a file `leases/KEY.OWNER`. To take a lease, a process makes its claim and then lists
 * the claims of that key. If its own is the only one, it holds the lease; otherwise it withdraws
 * the claim. Two processes can't hold one lease: the later of two claims is made before its owner
 * lists them, and by then the earlier one is there. Anyone may remove the claim of a dead owner,
 * because an owner's name is never used again.
 *
 * Claims are hard links to one file, `leases/OWNER`. Making and removing a file for each would cost
 * more than a small stage does: ext4 without a journal looks at every file removed in the last
 * minutes before it makes a new one.
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

/**
 * How often held claims are touched, and for how long another host's claim counts without a touch.
 */
const HEARTBEAT_MS = 5_000;
export const SILENT_MS = 30_000;

export interface Lease {
  /**
   * Whether the claim still exists. A process that was stopped for longer than `SILENT_MS` may have
   * lost it to another host, so its holder asks before it publishes.
   */
  stands(): boolean;
  release(): void;
}

export type LeaseAttempt = { readonly held: Lease } | { readonly by: Owner };

export interface Leases {
  /** Returns the lease, or the owner who holds it. Never waits. */
  take(key: ActionKey): LeaseAttempt;
  /** Stops the heartbeat and releases all leases that are still held. */
  close(): void;
}

/**
 * Removes a claim. Does not use `rmSync` with `force`, which takes several times as long. Disk
 * faults are ignored, because a claim that stays counts only while this process lives.
 */
function remove(claim: string): void {
  try {
    unlinkSync(claim);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' && !isDiskFault(diskFault(error, claim)))
      throw error;
  }
}

/**
 * Makes a hard link and returns whether it exists. If it does not, the caller writes a file in its
 * place, and that write shows what is wrong with the disk.
 */
function link(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    // only we use this name: a network file system was late to report success
    return (error as NodeJS.ErrnoException).code === 'EEXIST';
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
  const isStale = staleness();
  /** Whether the file system has hard links. If not, each claim is a separate file. */
  let links = true;

  const timer = setInterval(() => {
    if (links) touch(beat);
    else for (const file of held.keys()) touch(file);
  }, HEARTBEAT_MS);
  timer.unref();

  const make = (claim: string): void => {
    if (links && !link(beat, claim)) {
      writeFileSync(beat, BEAT); // it does not exist yet, or someone has cleared the folder
      links = link(beat, claim);
    }
    if (!links) writeFileSync(claim, BEAT);
  };
  const hold = (claim: string, key: ActionKey): Lease => {
    held.set(claim, key);
    return {
      stands: () => existsSync(claim),
      release: () => {
        held.delete(claim);
        remove(claim);
      },
    };
  };

  return {
    take(key) {
      const claim = `${dir}/${key}.${mine}`;
      if (held.has(claim)) return { by: me };
      make(claim);
      for (const name of readdirSync(dir)) {
        if (!name.startsWith(`${key}.`) || name === `${key}.${mine}`) continue;
        const owner = parseOwner(name.slice(key.length + 1)),
          file = path.join(dir, name);
        if (!owner) continue;
        if (!isStale(file, owner, claim)) {
          remove(claim);
          return { by: owner };
        }
        rmSync(file, { force: true });
        onTakeover(key, owner);
      }
      return { held: hold(claim, key) };
    },
    close() {
      clearInterval(timer);
      for (const claim of held.keys()) remove(claim);
      held.clear();
      remove(beat);
    },
  };
}

/**
 * Returns a function that tells whether another owner's claim no longer counts. `claim` is our own.
 */
function staleness(): (file: string, owner: Owner, claim: string) => boolean {
  /**
   * The last heartbeat seen of each claim of another host, and when it was seen by this process's
   * monotonic clock. This clock still counts if the file system's clock is set back.
   */
  const seen = new Map<string, { readonly beat: number; readonly at: number }>();
  return (file, owner, claim) => {
    const state = ownerState(owner);
    if (state !== 'unknown') return state === 'dead';
    const beat = statSync(file, { throwIfNoEntry: false })?.mtimeMs;
    if (beat === undefined) return false; // withdrawn in the meantime: the next attempt will see
    // Both times come from the file system's clock.
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
}

/** The content of a claim. All information is in its name. */
const BEAT = 'held\n';

/**
 * Touches a file by writing to it, not by setting its time. The time then comes from the file
 * system's clock, and the hosts' clocks need not agree. A claim that was taken over is not made
 * again.
 */
function touch(file: string): void {
  try {
    const handle = openSync(file, 'r+');
    try {
      writeSync(handle, BEAT, 0);
    } finally {
      closeSync(handle);
    }
  } catch (error) {
    // Missed heartbeats on a full disk mean at worst that work is done twice.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' && !isDiskFault(diskFault(error, file)))
      throw error;
  }
}
