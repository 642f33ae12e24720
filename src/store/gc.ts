/** Sweeps what is damaged or left over, and the least recently used entries down to a size. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import type { ActionKey } from '../plan/types.ts';
import { ownerState, parseOwner } from './owner.ts';
import { readRoots } from './roots.ts';
import type { Store } from './store.ts';

/** How long an unfinished stage may be gone on with: its folder is touched whenever it saves. */
const RESUME_KEPT_MS = 14 * 24 * 3600 * 1000;

export interface Swept {
  readonly entries: readonly ActionKey[];
  readonly damaged: number;
  readonly bytes: number;
  /** What is left. */
  readonly kept: { readonly entries: number; readonly bytes: number };
}

/** @param maxBytes null: entries stay, only what is damaged goes */
export function collectGarbage(store: Store, maxBytes: number | null, dryRun: boolean): Swept {
  const { root } = store;
  const damagedDir = path.join(root, 'damaged');
  const leases = path.join(root, 'leases');
  if (existsSync(leases)) {
    for (const name of readdirSync(leases)) {
      const owner = parseOwner(name.slice(name.indexOf('.') + 1));
      if (owner && ownerState(owner) !== 'dead') throw new UserFault(`a run is using ${root} (process ${owner.pid})`, 'wait for it to end');
    }
  }
  const remove = (dir: string): void => {
    if (dryRun) return;
    // Out of the way in one step: a kill in the middle leaves no half-removed entry.
    const aside = path.join(damagedDir, `gc-${process.pid}-${path.basename(dir)}`);
    mkdirSync(damagedDir, { recursive: true });
    renameSync(dir, aside);
    rmSync(aside, { recursive: true, force: true });
  };
  const resumes = path.join(root, 'resume');
  if (existsSync(resumes)) {
    for (const name of readdirSync(resumes)) {
      const dir = path.join(resumes, name);
      if (existsSync(store.entryDir(name as ActionKey)) || Date.now() - statSync(dir).mtimeMs > RESUME_KEPT_MS) remove(dir);
    }
  }
  const damaged = existsSync(damagedDir) ? readdirSync(damagedDir) : [];
  for (const name of damaged) remove(path.join(damagedDir, name));

  const used = new Map<ActionKey, number>();
  for (const { keys, used: when } of readRoots(root, (file) => statSync(file).mtimeMs)) for (const key of keys) used.set(key, Math.max(used.get(key) ?? 0, when));
  const entries = store.keys().flatMap((key) => {
    const found = store.lookUp(key);
    if (found.state !== 'hit') return [];
    const { manifest } = found.entry;
    return [{ key, bytes: manifest.files.reduce((sum, { size }) => sum + size, 0), used: used.get(key) ?? Date.parse(manifest.created) }];
  }).sort((a, b) => a.used - b.used);
  let bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0), kept = entries.length;
  const swept: ActionKey[] = [];
  let freed = 0;
  for (const entry of entries) {
    if (maxBytes === null || bytes <= maxBytes) break;
    remove(store.entryDir(entry.key));
    swept.push(entry.key);
    bytes -= entry.bytes;
    freed += entry.bytes;
    kept--;
  }
  return { entries: swept, damaged: damaged.length, bytes: freed, kept: { entries: kept, bytes } };
}

/** `500MB`, `2 GB`, `1.5GiB`. */
export function parseSize(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*$/i.exec(text);
  if (!match) throw new UserFault(`"${text}" is not a size`, 'write for example 500MB or 2GB');
  return Math.round(Number(match[1]) * (match[3] === '' ? 1000 : 1024) ** ' KMGT'.indexOf(match[2]!.toUpperCase() || ' '));
}
