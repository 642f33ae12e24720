/**
 * Leases: only one process makes an entry at a time, and the claims of a dead process need no
 * manual unlock. Entries are named by their key and renamed into place whole, so two processes that
 * make the same one do no harm; a lease saves the work. No lock of the file system is used, since
 * network file systems have none that can be relied on.
 *
 * A claim is a file `leases/KEY.OWNER`. To take a lease, a process makes its claim and then lists
 * the claims of that key. If its own is the only one, it holds the lease; otherwise it withdraws
 * the claim. Two processes can't hold one lease: the later of two claims is made before its owner
 * lists them, and by then the earlier one is there. A listing without the own claim is older than
 * the claim (a network file system cached it) and proves nothing. Anyone may remove the claim of a
 * dead owner, because an owner's name is never used again. An owner of another host is dead if its
 * heartbeat is silent (owner.ts). A process that was stopped for so long finds its claim gone.
 *
 * Claims are hard links to one file, `leases/OWNER`. Making and removing a file for each would cost
 * more than a small stage does: ext4 without a journal looks at every file removed in the last
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

/** A file system that can't answer for a moment says nothing about the file. */
function isGone(file: string): boolean {
  try {
    return lstatSync(file, { throwIfNoEntry: false }) === undefined;
  } catch {
    return false;
  }
}

export interface Lease {
  /** Whether this process still holds the lease: it may have been stopped, and taken for dead. */
  stands(): boolean;
  /** Aborted when the lease is found to be lost. */
  readonly lost: AbortSignal;
  release(): void;
}

export type LeaseAttempt =
  | {
      readonly held: Lease;
      /** Whether the claim of a dead owner was removed for it. */
      readonly takenOver: boolean;
    }
  | { readonly by: Owner };

export interface LeaseOptions {
  readonly onTakeover?: ((key: ActionKey, owner: Owner) => void) | undefined;
  /** How long this process's heartbeat may be silent; by default DOSIMETER_LEASE_SECONDS. */
  readonly timeoutMs?: number;
  readonly watch?: Watch;
  /** Lists the folder of leases. */
  readonly list?: (dir: string) => readonly string[];
}

/**
 * Removes a claim. Does not use `rmSync` with `force`, which takes several times as long. Disk
 * faults are ignored, because a claim that stays counts only while this process is alive.
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
function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    // only we use this name: a network file system was late to report success
    return (error as NodeJS.ErrnoException).code === 'EEXIST';
  }
}

interface Held {
  readonly key: ActionKey;
  /** The claim's path. */
  readonly claim: string;
  readonly lost: AbortController;
}

/** A claim without a heartbeat of its own. All information is in its name. */
const CLAIM = 'held\n';

/** After this many listings in a row without the own claim, `take` throws. */
const MOST_STALE = 200;

export const openLeases = (dir: string, me: Owner, options: LeaseOptions = {}): Leases =>
  new Leases(dir, me, options);

export class Leases {
  /** Whether a process of another host has been seen to use the store. */
  isShared = false;
  readonly #watch: Watch;
  readonly #heart;
  readonly #timer: NodeJS.Timeout;
  readonly #held = new Map<ActionKey, Held>();
  readonly #onTakeover;
  readonly #list;
  readonly #me: Owner;
  /** Whether the file system has hard links. If not, each claim is a separate file. */
  #links = true;
  #stale = 0;

  constructor(
    readonly dir: string,
    me: Owner,
    { onTakeover, timeoutMs = leaseTimeout(process.env), watch, list }: LeaseOptions,
  ) {
    this.#list = list ?? readdirSync;
    this.#me = me;
    this.#onTakeover = onTakeover;
    this.#heart = createHeart(dir, me, timeoutMs);
    this.#watch = watch ?? createWatch(dir, timeoutMs);
    this.#timer = setInterval(() => this.#tick(), this.#heart.everyMs);
    this.#timer.unref();
  }

  /** Returns the lease, or the owner who holds it. Never waits. */
  take(key: ActionKey): LeaseAttempt {
    if (this.#held.has(key)) return { by: this.#me };
    const claim = this.#make(key);
    const rivals = this.#rivals(key, claim);
    if (rivals === null || rivals.living !== null) {
      remove(claim);
      return { by: rivals?.living ?? this.#me };
    }
    const held: Held = { key, claim, lost: new AbortController() };
    this.#held.set(key, held);
    return {
      takenOver: rivals.dead > 0,
      held: {
        stands: () => this.#stands(held),
        lost: held.lost.signal,
        release: () => {
          if (this.#held.get(key) === held) this.#held.delete(key);
          remove(claim);
        },
      },
    };
  }

  /** Stops the heartbeat and releases all leases that are still held. */
  close(): void {
    clearInterval(this.#timer);
    for (const { claim } of this.#held.values()) remove(claim);
    this.#held.clear();
    remove(this.#heart.file);
  }

  #tick(): void {
    try {
      for (const held of [...this.#held.values()]) this.#stands(held);
      // A process that has made no claim yet needs no heartbeat.
      if (this.#held.size > 0 || existsSync(this.#heart.file)) this.#heart.beat();
      this.#watch.look();
    } catch (error) {
      if (!isDiskFault(diskFault(error, this.dir))) throw error;
    }
  }

  #make(key: ActionKey): string {
    const claim = `${this.dir}/${key}.${ownerName(this.#me)}`,
      beat = this.#heart.file;
    if (this.#links && !tryLink(beat, claim)) {
      this.#heart.beat(); // its file does not exist yet, or someone has cleared the folder
      this.#links = tryLink(beat, claim);
    }
    if (!this.#links) writeFileSync(claim, CLAIM);
    return claim;
  }

  /**
   * Lists the claims of a key beside `claim`, and removes those of dead owners. Returns null if the
   * listing lacks the own claim.
   */
  #rivals(
    key: ActionKey,
    claim: string,
  ): { readonly living: Owner | null; readonly dead: number } | null {
    const own = path.basename(claim),
      names = this.#list(this.dir);
    if (!names.includes(own)) {
      if (++this.#stale > MOST_STALE)
        throw new UserFault(
          `${this.dir}: a file that was just made does not show in the folder`,
          'this file system can’t be shared by runs: give another place with --store',
        );
      return null;
    }
    this.#stale = 0;
    this.#noteHosts(names);
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

  #isDead(owner: Owner): boolean {
    const state = ownerState(owner);
    return state === 'unknown' ? this.#watch.isSilent(owner) : state === 'dead';
  }

  #noteHosts(names: readonly string[]): void {
    if (this.isShared) return;
    this.isShared = names.some((name) => {
      const owner = ownerIn(name);
      return owner !== null && owner.host !== this.#me.host;
    });
  }

  #stands({ key, claim, lost }: Held): boolean {
    if (!lost.signal.aborted && isGone(claim)) {
      this.#held.delete(key);
      lost.abort();
    }
    return !lost.signal.aborted;
  }
}
