/** What a process leaves behind that ended without a word: scratch folders, claims, drafts. */
import { readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { ActionKey } from '../plan/types.ts';
import { ownerName, ownerState, parseOwner } from './owner.ts';
import type { Owner } from './owner.ts';

export type OnTakeover = (key: ActionKey, owner: Owner) => void;

/** None where there is no such folder. */
export function readdirOr(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}

/** Removes the scratch folders of dead owners (and of `also`). */
export function sweepScratch(dir: string, also?: Owner): void {
  for (const name of readdirOr(dir)) {
    const owner = parseOwner(name.slice(0, name.indexOf('.')));
    if (!owner || (ownerState(owner) !== 'dead' && !(also && ownerName(owner) === ownerName(also))))
      continue;
    try {
      rmSync(path.join(dir, name), { recursive: true, force: true });
    } catch (error) {
      // A worker outlives its scheduler by a moment, and may write meanwhile: the next sweep gets it.
      if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
    }
  }
}

/** Claims and signs of dead owners that no one came to take over, and what these were links to. @param onTakeover told of claims */
export function sweepClaims(dir: string, onTakeover: OnTakeover | undefined): void {
  for (const name of readdirOr(dir)) {
    const at = name.indexOf('.'),
      owner = parseOwner(name.slice(at + 1));
    if (!owner || ownerState(owner) !== 'dead') continue;
    rmSync(path.join(dir, name), { force: true });
    if (/^[0-9a-f]{64}\./.test(name)) onTakeover?.(name.slice(0, at) as ActionKey, owner);
  }
}

/** A file is replaced by renaming a draft, `NAME.PID`: those of processes that are gone. */
export function sweepDrafts(dir: string): void {
  for (const name of readdirOr(dir)) {
    const pid = /\.(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && !isRunning(Number(pid))) rmSync(path.join(dir, name), { force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
