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
 * @param refresh returns whether the entry's name shows in a listing: then it is about to be
 *   visible, and the looks go on for all of PAUSES
 * @param pauses the bound otherwise; without any, the entry is refreshed and looked at once more
 */
export async function lookUntilVisible(
  look: () => LookUp,
  refresh: () => boolean,
  pauses: readonly number[],
  wait: (ms: number) => Promise<unknown> = sleep,
): Promise<LookUp> {
  let found = look();
  for (let done = 0; found.state !== 'hit'; done++) {
    const bound = refresh() ? PAUSES : pauses;
    found = look();
    const pause = bound[done];
    if (found.state === 'hit' || pause === undefined) break;
    await wait(pause);
  }
  return found;
}

/** Returns the names in a folder, or null if the system shows none. */
function namesIn(dir: string): readonly string[] | null {
  try {
    return readdirSync(dir);
  } catch {
    return null; // the look-up that follows tells what is wrong
  }
}

/**
 * Makes a network file system ask its server about an entry: lists the folders above it, from the
 * store's root down, and opens the manifest. Listings are asked for anew, while a name that was
 * absent a moment ago may be remembered as absent. So the result says what the listings show.
 * @param dir the entry's folder
 */
export function refreshEntry(dir: string): boolean {
  const shard = path.dirname(dir);
  const shards = namesIn(path.dirname(shard)),
    entries = namesIn(shard);
  namesIn(dir);
  try {
    closeSync(openRegular(path.join(dir, MANIFEST_FILE)));
  } catch {
    // as above
  }
  return entries === null
    ? shards?.includes(path.basename(shard)) === true
    : entries.includes(path.basename(dir));
}
