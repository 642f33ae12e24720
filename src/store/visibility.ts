/**
 * Sees what another host has written. A network file system caches names and attributes, so that a
 * folder that another host has just renamed into place may seem absent, or lack files, for a while.
 */
import { closeSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LookUp } from './look-up.ts';
import { MANIFEST_FILE } from './manifest.ts';
import { openRegular } from './regular.ts';

/** The pauses between looks, in milliseconds; about 3 s together. */
export const PAUSES: readonly number[] = [20, 50, 100, 200, 400, 800, 1600];

/**
 * Looks an entry up until it is there and whole. Returns what the last look found, once the pauses
 * are over. The first look after a refresh comes without a pause.
 * @param pauses the bound; without any, the entry is refreshed and looked at once more
 */
export async function lookUntilVisible(
  look: () => LookUp,
  refresh: () => void,
  pauses: readonly number[],
  wait: (ms: number) => Promise<unknown> = sleep,
): Promise<LookUp> {
  let found = look();
  for (const pause of [0, ...pauses]) {
    if (found.state === 'hit') break;
    if (pause > 0) await wait(pause);
    refresh();
    found = look();
  }
  return found;
}

/**
 * Makes a network file system ask its server about an entry: opens the manifest, and lists the
 * entry's folder and the one above it. Ignores what the system answers.
 * @param dir the entry's folder
 */
export function refreshEntry(dir: string): void {
  for (const ask of [
    () => closeSync(openRegular(path.join(dir, MANIFEST_FILE))),
    () => readdirSync(dir),
    () => readdirSync(path.dirname(dir)),
  ]) {
    try {
      ask();
    } catch {
      // the look-up that follows tells what is wrong
    }
  }
}
