/**
 * Garbage collection: removes damaged and left-over files, then the least recently used entries
 * until the store is no larger than a given size. Pinned entries stay.
 */
import { existsSync, lstatSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { ownNames } from '../base/untrusted/own-folder.ts';
import type { ActionKey } from '../plan/types.ts';
import { makeFolder } from './folders.ts';
import { INDEX, indexFile } from './manifest-index.ts';
import { readPins } from './pins.ts';
import type { Sweeping } from './presence.ts';
import { beginSweeping } from './presence.ts';
import type { Root } from './roots.ts';
import { readRoots } from './roots.ts';
import type { Store } from './store.ts';
import { sweepDrafts, sweepGone } from './sweep.ts';

/**
 * How long the state of an unfinished stage is kept. Its folder is touched whenever the stage
 * saves.
 */
const RESUME_KEPT_MS = 14 * 24 * 3600 * 1000;

export interface Swept {
  readonly entries: readonly ActionKey[];
  readonly damaged: number;
  readonly bytes: number;
  /** The entries that are left. */
  readonly kept: { readonly entries: number; readonly bytes: number };
  /** The kept entries that are pinned and so never swept. */
  readonly pinned: { readonly entries: number; readonly bytes: number };
}

/**
 * Throws `UserFault` while a run uses the store.
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

/** @param sweeping null in a dry run, which changes nothing */
function sweep(store: Store, maxBytes: number | null, sweeping: Sweeping | null): Swept {
  const { root } = store;
  const damagedDir = path.join(root, 'damaged');
  const damaged = ownNames(root, 'damaged');
  const pinned = new Set(readPins(root).flatMap(({ keys }) => keys));
  if (sweeping) sweepLeftovers(root);
  const remove = (dir: string): void => {
    if (!sweeping) return;
    sweeping.beat();
    // Moved away in one step first, so that a kill in the middle leaves no half-removed entry.
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
    used = lastUse(roots);
  const entries = store
    .keys()
    .flatMap((key) => {
      const found = store.lookUp(key);
      if (found.state !== 'hit') return [];
      const { manifest } = found.entry;
      return [
        {
          key,
          bytes: manifest.files.reduce((sum, { size }) => sum + size, 0),
          used: used.get(key) ?? Date.parse(manifest.created),
        },
      ];
    })
    .sort((a, b) => a.used - b.used);
  let bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0),
    kept = entries.length;
  const swept: ActionKey[] = [];
  let freed = 0;
  for (const entry of entries) {
    if (maxBytes === null || bytes <= maxBytes) break;
    if (pinned.has(entry.key)) continue;
    remove(store.entryDir(entry.key));
    swept.push(entry.key);
    bytes -= entry.bytes;
    freed += entry.bytes;
    kept--;
  }
  if (sweeping) {
    forgetRoots(roots, used, new Set(swept));
    forgetIndexes(root);
  }
  const staying = entries.filter(({ key }) => pinned.has(key));
  return {
    entries: swept,
    damaged: damaged.length,
    bytes: freed,
    kept: { entries: kept, bytes },
    pinned: {
      entries: staying.length,
      bytes: staying.reduce((sum, entry) => sum + entry.bytes, 0),
    },
  };
}

function sweepLeftovers(root: string): void {
  sweepGone(root, undefined);
  sweepDrafts(root);
  for (const part of ['roots', INDEX, 'code', 'environments', 'pins', 'leases'])
    sweepDrafts(root, part);
}

function lastUse(roots: readonly Root[]): ReadonlyMap<ActionKey, number> {
  const used = new Map<ActionKey, number>();
  for (const { keys, used: when } of roots)
    for (const key of keys) used.set(key, Math.max(used.get(key) ?? 0, when));
  return used;
}

/** Removes the roots whose entries were all swept, or used later according to another root. */
function forgetRoots(
  roots: readonly Root[],
  used: ReadonlyMap<ActionKey, number>,
  swept: ReadonlySet<ActionKey>,
): void {
  for (const { file, keys, used: when } of roots)
    if (keys.every((key) => swept.has(key) || (used.get(key) ?? 0) > when))
      rmSync(file, { force: true });
}

/** Removes the indexes of specs that no root names any more. */
function forgetIndexes(root: string): void {
  const kept = new Set(readRoots(root).map(({ spec }) => path.basename(indexFile(root, spec))));
  // Drafts stay. A run that has nothing to do is not marked as running, yet it may be writing one.
  for (const name of ownNames(root, INDEX))
    if (name.endsWith('.json') && !kept.has(name))
      rmSync(path.join(root, INDEX, name), { recursive: true, force: true });
}

/**
 * Returns the number of bytes in a text such as `500MB`, `2 GB` or `1.5GiB`. Throws `UserFault` if
 * the text is not a size.
 */
export function parseSize(text: string): number {
  const [, number, prefix = '', binary] =
    /^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*$/i.exec(text) ?? [];
  if (number === undefined)
    throw new UserFault(`"${text}" is not a size`, 'write for example 500MB or 2GB');
  const power = ' KMGT'.indexOf(prefix.toUpperCase() || ' ');
  return Math.round(Number(number) * (binary === '' ? 1000 : 1024) ** power);
}
