/**
 * Leases: only one process makes an entry at a time, and the claims of a dead process need no
 * manual unlock. No lock of the file system is used, since network file systems have none that can
 * be relied on.
 *
 * A claim is a file `leases/KEY.OWNER`. To take a lease, a process makes its claim and then lists
 * the claims of that key. If its own is the only one, it holds the lease; otherwise it withdraws
 * the claim. Two processes can't hold one lease: the later of two claims is made before its owner
 * lists them, and by then the earlier one is there. A listing without the own claim is older than
 * the claim (a network file system cached it) and proves nothing. Anyone may remove the claim of a
 * dead owner, because an owner's name is never used again. An owner of another host is dead if its
 * heartbeat is silent (owner.ts).
 *
 * A process that was stopped may have been taken for dead. Before it relies on its leases again, it
 * claims each under a new name, by the same rule: a host that takes the old claim away at this
 * moment has made its own claim before, and is seen.
 *
 * Claims are hard links to one file, `leases/OWNER`. Making and removing a file for each would cost
 * more than a small stage does: ext4 without a journal looks at every file removed in the last
 * minutes before it makes a new one.
 */
import { existsSync, linkSync, readdirSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import type { ActionKey } from '../plan/types.ts';
import { diskFault, isDiskFault } from './faults.ts';
import type { Clock, Owner, Watch } from './owner.ts';
import {
  createHeart,
  createWatch,
  leaseTimeout,
  newOwner,
  ownerName,
  ownerState,
  parseOwner,
} from './owner.ts';

export interface Lease {
  /**
   * Whether this process still holds the lease. A process that was stopped may have lost it to
   * another host, so its holder asks before it publishes.
   */
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

export interface Leases {
  /** Returns the lease, or the owner who holds it. Never waits. */
  take(key: ActionKey): LeaseAttempt;
  /** Whether a process of another host has been seen to use the store. */
  readonly isShared: boolean;
  /** The heartbeats of other hosts, as this process has watched them. */
  readonly watch: Watch;
  /** Stops the heartbeat and releases all leases that are still held. */
  close(): void;
}

export interface LeaseOptions {
  readonly onTakeover?: ((key: ActionKey, owner: Owner) => void) | undefined;
  /** How long this process's heartbeat may be silent; by default as the environment says. */
  readonly timeoutMs?: number;
  /** The clock of the own heartbeat. */
  readonly clock?: Clock;
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
function link(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    // only we use this name: a network file system was late to report success
    return (error as NodeJS.ErrnoException).code === 'EEXIST';
  }
}

/** A lease that this process holds. */
interface Held {
  readonly key: ActionKey;
  /** The claim's path; another one after the lease was claimed again. */
  claim: string;
  readonly lost: AbortController;
}

/** A claim without a heartbeat of its own. All information is in its name. */
const CLAIM = 'held\n';

/** After this many listings in a row that lack the own claim, the file system is given up. */
const MOST_STALE = 200;

export const openLeases = (dir: string, me: Owner, options: LeaseOptions = {}): Leases =>
  new FolderLeases(dir, me, options);

class FolderLeases implements Leases {
  isShared = false;
  readonly watch: Watch;
  readonly #heart;
  readonly #timer: NodeJS.Timeout;
  readonly #held = new Map<ActionKey, Held>();
  readonly #onTakeover;
  readonly #list;
  /** The owner of new claims. */
  #me: Owner;
  /** Whether the file system has hard links. If not, each claim is a separate file. */
  #links = true;
  #stale = 0;

  constructor(
    readonly dir: string,
    me: Owner,
    { onTakeover, timeoutMs = leaseTimeout(process.env), clock, watch, list }: LeaseOptions,
  ) {
    this.#list = list ?? readdirSync;
    this.#me = me;
    this.#onTakeover = onTakeover;
    this.#heart = createHeart(dir, me, timeoutMs, clock);
    this.watch = watch ?? createWatch(dir, timeoutMs);
    this.#timer = setInterval(() => this.#tick(), this.#heart.everyMs);
    this.#timer.unref();
  }

  take(key: ActionKey): LeaseAttempt {
    if (this.#held.has(key)) return { by: this.#me };
    if (this.#heart.isLate()) this.#claimAgain();
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
          remove(held.claim);
        },
      },
    };
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { claim } of this.#held.values()) remove(claim);
    this.#held.clear();
    this.#heart.files().forEach(remove);
  }

  #tick(): void {
    try {
      // A process that has made no claim yet needs no heartbeat.
      if (this.#held.size === 0 && !this.#heart.files().some((file) => existsSync(file)))
        this.#heart.rest();
      else if (this.#heart.isLate()) this.#claimAgain();
      else this.#heart.beat();
      this.watch.look();
    } catch (error) {
      // `stands` tries again, and reports it.
      if (!isDiskFault(diskFault(error, this.dir))) throw error;
    }
  }

  #make(key: ActionKey): string {
    const name = ownerName(this.#me),
      claim = `${this.dir}/${key}.${name}`,
      beat = `${this.dir}/${name}`;
    if (this.#links && !link(beat, claim)) {
      this.#heart.beat(); // its file does not exist yet, or someone has cleared the folder
      this.#links = link(beat, claim);
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
      const owner = parseOwner(name.slice(key.length + 1));
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
    return state === 'unknown' ? this.watch.isSilent(owner) : state === 'dead';
  }

  #noteHosts(names: readonly string[]): void {
    if (this.isShared) return;
    this.isShared = names.some((name) => {
      const owner = parseOwner(name.slice(name.indexOf('.') + 1));
      return owner !== null && owner.host !== this.#me.host;
    });
  }

  #stands(held: Held): boolean {
    try {
      if (this.#heart.isLate()) this.#claimAgain();
    } catch (error) {
      throw diskFault(error, this.dir);
    }
    if (!held.lost.signal.aborted && !existsSync(held.claim)) this.#lose(held);
    return !held.lost.signal.aborted;
  }

  #lose(held: Held): void {
    if (this.#held.get(held.key) === held) this.#held.delete(held.key);
    remove(held.claim);
    held.lost.abort();
  }

  /**
   * Makes this process count as alive again after its heartbeat was late. Claims every held lease
   * under a new name; one that another owner has claimed is lost.
   */
  #claimAgain(): void {
    if (this.#held.size > 0) {
      this.#me = newOwner(this.#me);
      this.#heart.alsoAs(this.#me);
    }
    this.#heart.beat();
    this.#claimHeldAgain();
    this.#heart.fresh();
  }

  #claimHeldAgain(): void {
    const claims = [...this.#held.values()].map((held) => ({ held, claim: this.#make(held.key) }));
    if (claims.length === 0) return;
    const names = new Set(this.#list(this.dir));
    for (const { held, claim } of claims) {
      const old = held.claim;
      // Whoever has removed the old claim may have ended already.
      const stands =
        names.has(path.basename(claim)) &&
        names.has(path.basename(old)) &&
        !this.#isClaimed(held.key, names, [old, claim]);
      held.claim = claim;
      remove(old);
      if (!stands) this.#lose(held);
    }
  }

  /** Whether an owner that is not known to be dead claims the key, besides `own`. */
  #isClaimed(key: ActionKey, names: ReadonlySet<string>, own: readonly string[]): boolean {
    const mine = own.map((claim) => path.basename(claim));
    return [...names].some((name) => {
      if (!name.startsWith(`${key}.`) || mine.includes(name)) return false;
      const owner = parseOwner(name.slice(key.length + 1));
      return owner !== null && ownerState(owner) !== 'dead';
    });
  }
}
