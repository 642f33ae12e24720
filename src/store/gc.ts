/**
 * Garbage collection: removes damaged and left-over files, then the least recently used entries
 * until the store is no larger than a given size. Pinned entries stay.
 *
 * Runs and `gc` are kept out of each other's way: a run relies on entries whose lease it does not
 * hold, namely those that it found and those that it has made. Each side makes its marker before it
 * looks for the other's, so the two never proceed at once: `gc` gives up, and a run waits.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserFault } from '../api.ts';
import { ownFolder, ownNames } from '../base/untrusted/paths.ts';
import type { ActionKey } from '../plan/types.ts';
import { ANSWERS, answersIn } from './answers.ts';
import { onDisk } from './faults.ts';
import { makeFolder } from './folders.ts';
import { bytesOf, keptFiles } from './manifest.ts';
import { INDEX, indexFile } from './manifest-index.ts';
import {
  createHeart,
  createWatch,
  leaseTimeout,
  newOwner,
  ownerIn,
  ownerName,
  ownerState,
  type Watch,
} from './owner.ts';
import { readPins, readRoots, type Root } from './roots.ts';
import { type Store, sweepLetGo } from './store.ts';
import { sweepDrafts, sweepGone } from './sweep.ts';

/** How long an unfinished stage's state is kept after it was last saved. */
const RESUME_KEPT_MS = 14 * 24 * 3600 * 1000;

export interface Swept {
  /** The entries that were removed. In a dry run, this and the fields below say what would be. */
  readonly entries: readonly ActionKey[];
  /** The number of answers of services that were removed. Absent if none. */
  readonly answers?: number;
  readonly damaged: number;
  /** The bytes of the removed entries and answers, and of the files that `sweepLetGo` removed. */
  readonly bytes: number;
  /** What is left. `bytes` also counts the answers, `entries` does not. */
  readonly kept: { readonly entries: number; readonly bytes: number };
  /** The kept entries that are pinned and so never swept. */
  readonly pinned: { readonly entries: number; readonly bytes: number };
}

/**
 * Sweeps a store. A dry run only reports what would be removed; any other sweep throws `UserFault`
 * while a run or another `gc` uses the store.
 * @param maxBytes the most bytes that may stay, or null to sweep only damaged and left-over files
 */
export async function collectGarbage(
  store: Store,
  maxBytes: number | null,
  dryRun: boolean,
): Promise<Swept> {
  if (dryRun || !existsSync(store.root)) return sweep(store, maxBytes, null);
  const sweeping = await beginSweeping(store.root);
  try {
    return sweep(store, maxBytes, sweeping);
  } finally {
    sweeping.end();
  }
}

/**
 * Does what `collectGarbage` says, once the store is marked.
 * @param sweeping the mark; null in a dry run, which changes nothing
 */
function sweep(store: Store, maxBytes: number | null, sweeping: Sweeping | null): Swept {
  const { root } = store;
  const damagedDir = path.join(root, 'damaged');
  const damaged = ownNames(root, 'damaged');
  const pinned = new Set(readPins(root).flatMap(({ keys }) => keys));
  if (sweeping) sweepLeftovers(root);
  /** Removes a folder or file of the store; does nothing in a dry run. */
  const remove = (dir: string): void => {
    if (!sweeping) return;
    sweeping.beat();
    // Moved away in one step first, so that a kill leaves no half-removed entry.
    const aside = path.join(damagedDir, `gc-${process.pid}-${path.basename(dir)}`);
    makeFolder(damagedDir);
    renameSync(dir, aside);
    rmSync(aside, { recursive: true, force: true });
  };
  for (const name of ownNames(root, 'resume')) {
    const dir = path.join(root, 'resume', name);
    if (
      existsSync(store.entryDir(name.slice(0, 64) as ActionKey)) ||
      Date.now() - lstatSync(dir).mtimeMs > RESUME_KEPT_MS
    )
      remove(dir);
  }
  for (const name of damaged) remove(path.join(damagedDir, name));

  const roots = readRoots(root),
    used = lastUseByKey(roots);
  let leftoverBytes = 0;
  const entries = store.keys().flatMap((key) => {
    const found = store.lookUp(key);
    if (found.state !== 'hit') return [];
    const { dir, manifest } = found.entry;
    if (sweeping) leftoverBytes += sweepLetGo(dir, manifest);
    const bytes = bytesOf(keptFiles(manifest));
    return [{ key, place: dir, bytes, used: used.get(key) ?? Date.parse(manifest.created) }];
  });
  const items = [...entries, ...answersIn(root)].sort((a, b) => a.used - b.used);
  let bytesLeft = items.reduce((sum, item) => sum + item.bytes, 0),
    keptEntries = entries.length;
  const swept: ActionKey[] = [];
  let freed = leftoverBytes,
    answers = 0;
  for (const item of items) {
    if (maxBytes === null || bytesLeft <= maxBytes) break;
    if (item.key !== null && pinned.has(item.key)) continue;
    remove(item.place);
    if (item.key === null) answers++;
    else {
      swept.push(item.key);
      keptEntries--;
    }
    bytesLeft -= item.bytes;
    freed += item.bytes;
  }
  if (sweeping) {
    forgetRoots(roots, used, new Set(swept));
    forgetIndexes(root);
  }
  const staying = entries.filter(({ key }) => pinned.has(key));
  return {
    entries: swept,
    ...(answers === 0 ? {} : { answers }),
    damaged: damaged.length,
    bytes: freed,
    kept: { entries: keptEntries, bytes: bytesLeft },
    pinned: {
      entries: staying.length,
      bytes: staying.reduce((sum, entry) => sum + entry.bytes, 0),
    },
  };
}

function sweepLeftovers(root: string): void {
  sweepGone(root, undefined);
  sweepDrafts(root);
  for (const part of ['roots', INDEX, 'code', 'environments', 'pins', 'leases', ANSWERS])
    sweepDrafts(root, part);
}

/**
 * Returns when each entry that a root names was last used, in ms since 1970: the latest time of the
 * roots that name it.
 */
function lastUseByKey(roots: readonly Root[]): ReadonlyMap<ActionKey, number> {
  const used = new Map<ActionKey, number>();
  for (const { keys, used: when } of roots)
    for (const key of keys) used.set(key, Math.max(used.get(key) ?? 0, when));
  return used;
}

/** Removes roots whose every entry was swept, or was used later under another root. */
function forgetRoots(
  roots: readonly Root[],
  used: ReadonlyMap<ActionKey, number>,
  swept: ReadonlySet<ActionKey>,
): void {
  for (const { file, keys, used: when } of roots)
    if (keys.every((key) => swept.has(key) || (used.get(key) ?? 0) > when))
      rmSync(file, { force: true });
}

/** Removes the indexes of specs that no root names. */
function forgetIndexes(root: string): void {
  const kept = new Set(readRoots(root).map(({ spec }) => path.basename(indexFile(root, spec))));
  // Drafts stay: a run that finds everything cached leaves no marker, but may be writing an index.
  for (const name of ownNames(root, INDEX))
    if (name.endsWith('.json') && !kept.has(name))
      rmSync(path.join(root, INDEX, name), { recursive: true, force: true });
}

/** Returns the bytes of a size such as `500MB` or `1.5GiB`. Throws `UserFault` for other texts. */
export function parseSize(text: string): number {
  const [, number, prefix = '', binary] =
    /^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*$/i.exec(text) ?? [];
  if (number === undefined)
    throw new UserFault(`"${text}" is not a size`, 'write for example 500MB or 2GB');
  const power = ' KMGT'.indexOf(prefix.toUpperCase() || ' ');
  return Math.round(Number(number) * (binary === '' ? 1000 : 1024) ** power);
}

const POLL_MS = 250;

/** How the names of markers begin. Markers lie among the leases, whose names begin with a key. */
const SWEEPING = 'sweeping',
  RUNNING = 'running';

/**
 * Marks the store as used by a run, until the store is closed. Waits while a `gc` sweeps the store,
 * and tells so once.
 */
export async function enterStore(store: Store, tell: (message: string) => void): Promise<void> {
  store.take(`${RUNNING}-${randomUUID()}` as ActionKey);
  const watch = openWatch(store.root);
  /** Returns the id of the process that sweeps the store; undefined if none does. */
  const sweeper = (): number | undefined =>
    liveMarkers(store.root, watch).find(({ name }) => name.startsWith(SWEEPING))?.pid;
  for (let told = false; ; told = true) {
    const pid = await onDisk(store.root, sweeper);
    if (pid === undefined) return;
    if (!told) tell(`gc is sweeping ${store.root} (process ${pid}); waiting`);
    await sleep(POLL_MS);
  }
}

/** Performs an action unless another process may use the store. Returns whether it did. */
export function whileAlone(store: Store, action: () => void): boolean {
  const marker = `${SWEEPING}-${randomUUID()}`;
  const lease = store.take(marker as ActionKey);
  if ('by' in lease) return false;
  try {
    const all = liveMarkers(store.root, openWatch(store.root));
    const me = all.find(({ name }) => name.startsWith(marker))?.owner;
    if (all.some(({ owner }) => owner !== me)) return false;
    action();
    return true;
  } finally {
    lease.held.release();
  }
}

interface Sweeping {
  /** Shows other hosts that the sweep goes on. */
  beat(): void;
  end(): void;
}

/**
 * Marks the store as being swept. Throws `UserFault` while a run or another `gc` uses it. Where
 * other hosts' processes have left markers, waits until their heartbeats show whether they live.
 */
export async function beginSweeping(root: string): Promise<Sweeping> {
  ownFolder(root, 'leases');
  const dir = leasesDir(root),
    me = newOwner(),
    marker = path.join(dir, `${SWEEPING}.${ownerName(me)}`);
  const heart = createHeart(dir, me, leaseTimeout(process.env)),
    watch = openWatch(root);
  const end = (): void => {
    for (const file of [marker, heart.file]) rmSync(file, { force: true });
  };
  makeFolder(dir);
  heart.beat();
  writeFileSync(marker, '');
  try {
    for (;;) {
      const others = liveMarkers(root, watch).filter(({ owner }) => owner !== ownerName(me));
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

const leasesDir = (root: string): string => path.join(root, 'leases');

const openWatch = (root: string): Watch => createWatch(leasesDir(root), leaseTimeout(process.env));

/**
 * Returns the markers and leases of processes that may be alive. `isKnown` tells whether the
 * process is known to be alive. A process of another host may be alive until its heartbeat has been
 * silent for too long; then its markers and leases are removed.
 */
function liveMarkers(root: string, watch: Watch) {
  const dir = leasesDir(root);
  if (!existsSync(dir)) return [];
  const silent = new Map<string, boolean>();
  return readdirSync(dir).flatMap((name) => {
    const owner = ownerIn(name),
      state = owner && ownerState(owner);
    if (owner === null || state === 'dead') return [];
    const marker = { name, owner: ownerName(owner), pid: owner.pid };
    if (state === 'alive') return [{ ...marker, isKnown: true }];
    const isSilent = silent.get(marker.owner) ?? watch.isSilent(owner);
    silent.set(marker.owner, isSilent);
    if (isSilent) rmSync(path.join(dir, name), { force: true });
    return isSilent ? [] : [{ ...marker, isKnown: watch.hasBeaten(owner) }];
  });
}
