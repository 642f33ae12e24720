/**
 * Keeps runs and `gc` out of each other's way. A run relies on entries whose lease it does not
 * hold: those that it found and those that it has made. Each side makes its own sign before it
 * looks for the other's, so the two never proceed at once: `gc` gives up, and a run waits.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserFault } from '../api.ts';
import { ownFolder } from '../base/untrusted/own-folder.ts';
import type { ActionKey } from '../plan/types.ts';
import { onDisk } from './faults.ts';
import { makeFolder } from './folders.ts';
import type { Watch } from './heartbeat.ts';
import { createHeart, createWatch, silenceOf } from './heartbeat.ts';
import { newOwner, ownerName, ownerState, parseOwner } from './owner.ts';
import type { Store } from './store.ts';

const POLL_MS = 250;

/** The first part of a sign's name; the names of leases start with a key. */
const SWEEPING = 'sweeping',
  RUNNING = 'running';

/**
 * Marks a run as using the store until the store is closed. Waits while `gc` is sweeping.
 * @param tell called once if the run has to wait
 */
export async function enterStore(store: Store, tell: (message: string) => void): Promise<void> {
  store.take(`${RUNNING}-${randomUUID()}` as ActionKey);
  const watch = watchOf(store.root);
  const sweeper = (): number | undefined =>
    living(store.root, watch).find(({ name }) => name.startsWith(SWEEPING))?.pid;
  for (
    let pid = await onDisk(store.root, sweeper), told = false;
    pid !== undefined;
    pid = await onDisk(store.root, sweeper)
  ) {
    if (!told) tell(`gc is sweeping ${store.root} (process ${pid}); waiting`);
    told = true;
    await sleep(POLL_MS);
  }
}

export interface Sweeping {
  /** Shows other hosts that the sweep goes on. */
  beat(): void;
  end(): void;
}

/**
 * Marks the store as being swept. Throws `UserFault` while a run or another `gc` uses it. Signs of
 * other hosts are watched for as long as it takes to tell whether they have a heartbeat.
 */
export async function beginSweeping(root: string): Promise<Sweeping> {
  ownFolder(root, 'leases');
  const dir = leasesOf(root),
    me = newOwner(),
    sign = path.join(dir, `${SWEEPING}.${ownerName(me)}`);
  const heart = createHeart(dir, me, silenceOf(process.env)),
    watch = watchOf(root);
  const end = (): void => {
    for (const file of [sign, ...heart.files()]) rmSync(file, { force: true });
  };
  makeFolder(dir);
  heart.beat();
  writeFileSync(sign, '');
  try {
    for (;;) {
      const others = living(root, watch).filter(({ owner }) => owner !== ownerName(me));
      const known = others.filter(({ isKnown }) => isKnown),
        gc = known.find(({ name }) => name.startsWith(SWEEPING)),
        other = gc ?? known[0];
      if (other)
        throw new UserFault(
          `${gc ? 'another gc' : 'a run'} is using ${root} (process ${other.pid})`,
          'wait for it to end',
        );
      if (others.length === 0) return { beat: () => heart.beat(), end };
      await sleep(POLL_MS);
      heart.beat();
    }
  } catch (error) {
    end();
    throw error;
  }
}

const leasesOf = (root: string): string => path.join(root, 'leases');

const watchOf = (root: string): Watch => createWatch(leasesOf(root), silenceOf(process.env));

interface Sign {
  readonly name: string;
  readonly owner: string;
  readonly pid: number;
  /** Whether its process is known to live; a heartbeat may still turn out to be silent. */
  readonly isKnown: boolean;
}

/**
 * Returns the signs and leases of processes that are not known to be gone. Those of another host
 * count until their heartbeat has been silent for long enough, and are removed then.
 */
function living(root: string, watch: Watch): Sign[] {
  const dir = leasesOf(root);
  if (!existsSync(dir)) return [];
  const silent = new Map<string, boolean>();
  return readdirSync(dir).flatMap((name) => {
    const owner = parseOwner(name.slice(name.indexOf('.') + 1)),
      state = owner && ownerState(owner);
    if (owner === null || state === 'dead') return [];
    const sign = { name, owner: ownerName(owner), pid: owner.pid };
    if (state === 'alive') return [{ ...sign, isKnown: true }];
    const isSilent = silent.get(sign.owner) ?? watch.isSilent(owner);
    silent.set(sign.owner, isSilent);
    if (isSilent) rmSync(path.join(dir, name), { force: true });
    return isSilent ? [] : [{ ...sign, isKnown: watch.hasBeaten(owner) }];
  });
}
