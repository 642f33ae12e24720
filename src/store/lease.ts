/**
 * Leases: only one process makes an entry at a time, and the claims of a dead process need no
 * manual unlock. Entries are named by their key and renamed into place whole, so two processes that
 * make the same one do no harm; a lease saves the work. No lock of the file system is used, since
 * network file systems have none that can be relied on.
 *
 * A claim is a file `leases/KEY.OWNER`. To take a lease, a process makes its claim and then lists
 * the claims of that key. If its own is the only one, it holds the lease; otherwise it withdraws
 * the claim. Two processes can't hold one lease: the later of two claims is made before its owner
 * lists them, and by then the earlier one is there. A listing that lacks a process's own claim was
 * cached by a network file system before the claim was made, and proves nothing. Anyone may remove
 * the claim of a dead owner, because an owner's name is never used again. An owner of another host
 * is dead if its heartbeat has been silent for too long (owner.ts). A process that was stopped for
 * so long may find its claims gone.
 *
 * Claims are hard links to one file, `leases/OWNER`. To make and remove a file for each claim would
 * cost more than a small stage does: ext4 without a journal looks at every file removed in the last
 * minutes before it makes a new one.
 */
import {
  existsSync,
  linkSync,
  lstatSync,
  readdirSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { hasCode } from '../base/system-error.ts';
import type { ActionKey } from '../plan/types.ts';
import { diskFault, isDiskFault } from './faults.ts';
import {
  createHeart,
  createWatch,
  leaseTimeout,
  type Owner,
  ownerIn,
  ownerName,
  ownerState,
  type Watch,
} from './owner.ts';

/** Whether a file is surely gone; false while the file system gives no answer. */
function isGone(file: string): boolean {
  try {
    return lstatSync(file, { throwIfNoEntry: false }) === undefined;
  } catch {
    return false;
  }
}

export interface Lease {
  /** Whether this process still holds the lease: others may take a stopped process for dead. */
  stands(): boolean;
  /** Aborted once the lease is found lost. */
  readonly lost: AbortSignal;
  release(): void;
}

export type LeaseAttempt =
  | {
      readonly held: Lease;
      /** Whether a dead owner's claim to it was removed. */
      readonly takenOver: boolean;
    }
  /** Who holds the lease instead. */
  | { readonly by: Owner };

export interface LeaseOptions {
  readonly onTakeover?: ((key: ActionKey, owner: Owner) => void) | undefined;
  /** How long the heartbeat may be silent. Default: DOSIMETER_LEASE_SECONDS. */
  readonly timeoutMs?: number;
  readonly watch?: Watch;
  /** Lists the folder of leases, in place of `readdirSync`. */
  readonly list?: (dir: string) => readonly string[];
}

/**
 * Removes a claim, with `unlinkSync`, because `rmSync` with `force` takes several times as long.
 * Ignores disk faults: a claim that stays counts only while this process is alive.
 */
function removeClaim(claim: string): void {
  try {
    unlinkSync(claim);
  } catch (error) {
    if (!hasCode(error, 'ENOENT') && !isDiskFault(diskFault(error, claim))) throw error;
  }
}

/**
 * Makes a hard link. Returns false if that fails for any reason: the caller then writes a file, and
 * if writing fails too, its error says what is wrong.
 */
function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    // Only this process uses this name. So the link was made, and a network file system that got no
    // answer asked for it a second time.
    return hasCode(error, 'EEXIST');
  }
}

interface Held {
  readonly key: ActionKey;
  readonly claim: string;
  readonly lost: AbortController;
}

/** The content of a claim that is a file, not a link to the heartbeat. Only its name is read. */
const CLAIM = 'held\n';

/** `take` throws if more listings in a row than this lack the claim that was made just before. */
const MOST_STALE = 200;

export class Leases {
  /** Whether a process of another host was seen to use the store. */
  isShared = false;
  readonly #watch: Watch;
  readonly #heart;
  readonly #timer: NodeJS.Timeout;
  readonly #held = new Map<ActionKey, Held>();
  readonly #onTakeover;
  readonly #list;
  readonly #me: Owner;
  /** Whether the file system has hard links. If not, each claim is a file. */
  #hasLinks = true;
  #staleListings = 0;

  constructor(
    readonly dir: string,
    me: Owner,
    { onTakeover, timeoutMs = leaseTimeout(process.env), watch, list }: LeaseOptions = {},
  ) {
    this.#list = list ?? readdirSync;
    this.#me = me;
    this.#onTakeover = onTakeover;
    this.#heart = createHeart(dir, me, timeoutMs);
    this.#watch = watch ?? createWatch(dir, timeoutMs);
    this.#timer = setInterval(() => this.#tick(), this.#heart.everyMs);
    this.#timer.unref();
  }

  /**
   * Returns the lease or, as `by`, who holds it. `by` is this process if it already holds the
   * lease, or if a cached listing lacks the claim just made, so that the holder is not known.
   */
  take(key: ActionKey): LeaseAttempt {
    if (this.#held.has(key)) return { by: this.#me };
    const claim = this.#makeClaim(key);
    const rivals = this.#findRivals(key, claim);
    if (rivals === null || rivals.living !== null) {
      removeClaim(claim);
      return { by: rivals?.living ?? this.#me };
    }
    const held: Held = { key, claim, lost: new AbortController() };
    this.#held.set(key, held);
    return {
      takenOver: rivals.dead > 0,
      held: {
        stands: () => this.#checkHeld(held),
        lost: held.lost.signal,
        release: () => {
          if (this.#held.get(key) === held) this.#held.delete(key);
          removeClaim(claim);
        },
      },
    };
  }

  /** Stops the heartbeat and releases all leases that are still held. */
  close(): void {
    clearInterval(this.#timer);
    for (const { claim } of this.#held.values()) removeClaim(claim);
    this.#held.clear();
    removeClaim(this.#heart.file);
  }

  /** Finds leases that were lost, renews the heartbeat, and looks at other hosts' heartbeats. */
  #tick(): void {
    try {
      for (const held of [...this.#held.values()]) this.#checkHeld(held);
      // A process that has made no claim yet needs no heartbeat.
      if (this.#held.size > 0 || existsSync(this.#heart.file)) this.#heart.beat();
      this.#watch.look();
    } catch (error) {
      if (!isDiskFault(diskFault(error, this.dir))) throw error;
    }
  }

  /**
   * Makes the claim to an entry, and returns its path. It is a link to the heartbeat, or a file
   * where the file system has no hard links.
   */
  #makeClaim(key: ActionKey): string {
    const claim = `${this.dir}/${key}.${ownerName(this.#me)}`,
      beat = this.#heart.file;
    if (this.#hasLinks && !tryLink(beat, claim)) {
      this.#heart.beat(); // the heartbeat's file does not exist yet, or was removed
      this.#hasLinks = tryLink(beat, claim);
    }
    if (!this.#hasLinks) writeFileSync(claim, CLAIM);
    return claim;
  }

  /**
   * Lists the other claims to `key` up to the first with a living owner, and removes those of dead
   * owners. Returns that living owner (null if there is none) and how many claims were removed.
   * Returns null if the listing lacks `claim` itself.
   */
  #findRivals(
    key: ActionKey,
    claim: string,
  ): { readonly living: Owner | null; readonly dead: number } | null {
    const own = path.basename(claim),
      names = this.#list(this.dir);
    if (!names.includes(own)) {
      if (++this.#staleListings > MOST_STALE)
        throw new UserFault(
          `${this.dir}: a file that was just made does not show in the folder`,
          'this file system can’t be shared by runs: give another place with --store',
        );
      return null;
    }
    this.#staleListings = 0;
    this.#noteOtherHosts(names);
    let dead = 0;
    for (const name of names) {
      if (!name.startsWith(`${key}.`) || name === own) continue;
      const owner = ownerIn(name);
      if (!owner) continue;
      if (!this.#isDead(owner)) return { living: owner, dead };
      rmSync(path.join(this.dir, name), { force: true });
      dead++;
      this.#onTakeover?.(key, owner);
    }
    return { living: null, dead };
  }

  /**
   * Whether an owner's claims no longer count: its process has ended or, on another host, its
   * heartbeat has been silent for too long.
   */
  #isDead(owner: Owner): boolean {
    const state = ownerState(owner);
    return state === 'unknown' ? this.#watch.isSilent(owner) : state === 'dead';
  }

  #noteOtherHosts(names: readonly string[]): void {
    if (this.isShared) return;
    this.isShared = names.some((name) => {
      const owner = ownerIn(name);
      return owner !== null && owner.host !== this.#me.host;
    });
  }

  /** Returns whether a lease still stands. If not, aborts its signal `lost`. */
  #checkHeld({ key, claim, lost }: Held): boolean {
    if (!lost.signal.aborted && isGone(claim)) {
      this.#held.delete(key);
      lost.abort();
    }
    return !lost.signal.aborted;
  }
}
