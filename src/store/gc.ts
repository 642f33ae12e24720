/** Sweeps what is damaged or left over, and the least recently used entries down to a size; what is pinned stays. */
import { existsSync, renameSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import type { ActionKey } from '../plan/types.ts';
import { makeFolder } from './folders.ts';
import { INDEX, indexFile } from './manifest-index.ts';
import { readPins } from './pins.ts';
import type { Sweeping } from './presence.ts';
import { beginSweeping } from './presence.ts';
import type { Root } from './roots.ts';
import { readRoots } from './roots.ts';
import type { Store } from './store.ts';
import { readdirOr, sweepDrafts, sweepGone } from './sweep.ts';

/** How long an unfinished stage may be gone on with: its folder is touched whenever it saves. */
const RESUME_KEPT_MS = 14 * 24 * 3600 * 1000;

export interface Swept {
  readonly entries: readonly ActionKey[];
  readonly damaged: number;
  readonly bytes: number;
  /** What is left. */
  readonly kept: { readonly entries: number; readonly bytes: number };
  /** Of that, what no size sweeps. */
  readonly pinned: { readonly entries: number; readonly bytes: number };
}

/** @param maxBytes null: entries stay, only what is damaged goes. @throws UserFault while a run uses the store */
export function collectGarbage(store: Store, maxBytes: number | null, dryRun: boolean): Swept {
  if (dryRun || !existsSync(store.root)) return sweep(store, maxBytes, null);
  const sweeping = beginSweeping(store.root);
  try {
    return sweep(store, maxBytes, sweeping);
  } finally {
    sweeping.end();
  }
}

/** @param sweeping null: nothing is changed */
function sweep(store: Store, maxBytes: number | null, sweeping: Sweeping | null): Swept {
  const { root } = store;
  const damagedDir = path.join(root, 'damaged');
  const pinned = new Set(readPins(root).flatMap(({ keys }) => keys));
  if (sweeping) sweepLeftovers(root);
  const remove = (dir: string): void => {
    if (!sweeping) return;
    sweeping.beat();
    // Out of the way in one step: a kill in the middle leaves no half-removed entry.
    const aside = path.join(damagedDir, `gc-${process.pid}-${path.basename(dir)}`);
    makeFolder(damagedDir);
    renameSync(dir, aside);
    rmSync(aside, { recursive: true, force: true });
  };
  const resumes = path.join(root, 'resume');
  for (const name of readdirOr(resumes)) {
    const dir = path.join(resumes, name);
    if (
      existsSync(store.entryDir(name.slice(0, 64) as ActionKey)) ||
      Date.now() - statSync(dir).mtimeMs > RESUME_KEPT_MS
    )
      remove(dir);
  }
  const damaged = readdirOr(damagedDir);
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
  for (const part of ['.', 'roots', INDEX, 'code', 'environments', 'pins', 'leases'])
    sweepDrafts(path.join(root, part));
}

function lastUse(roots: readonly Root[]): ReadonlyMap<ActionKey, number> {
  const used = new Map<ActionKey, number>();
  for (const { keys, used: when } of roots)
    for (const key of keys) used.set(key, Math.max(used.get(key) ?? 0, when));
  return used;
}

/** A root that tells of no use that another one doesn't. */
function forgetRoots(
  roots: readonly Root[],
  used: ReadonlyMap<ActionKey, number>,
  swept: ReadonlySet<ActionKey>,
): void {
  for (const { file, keys, used: when } of roots)
    if (keys.every((key) => swept.has(key) || used.get(key)! > when)) rmSync(file, { force: true });
}

/** Of specs that no root names any more. */
function forgetIndexes(root: string): void {
  const kept = new Set(readRoots(root).map(({ spec }) => path.basename(indexFile(root, spec))));
  // Drafts are not touched: a run that has nothing to do puts up no sign, and may be writing one.
  for (const name of readdirOr(path.join(root, INDEX)))
    if (name.endsWith('.json') && !kept.has(name))
      rmSync(path.join(root, INDEX, name), { recursive: true, force: true });
}

/** `500MB`, `2 GB`, `1.5GiB`. */
export function parseSize(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*$/i.exec(text);
  if (!match) throw new UserFault(`"${text}" is not a size`, 'write for example 500MB or 2GB');
  return Math.round(
    Number(match[1]) *
      (match[3] === '' ? 1000 : 1024) ** ' KMGT'.indexOf(match[2]!.toUpperCase() || ' '),
  );
}
