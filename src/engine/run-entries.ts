/**
 * `runs/ID/entries.json`: the key of every entry that a run made or found, so that the run can be
 * pinned.
 */
import path from 'node:path';
import type { ActionKey } from '../plan/types.ts';
import { readSealed, writeSealed } from '../store/sealed.ts';

const fileOf = (dir: string): string => path.join(dir, 'entries.json');

export const saveRunEntries = (dir: string, keys: readonly ActionKey[]): void =>
  writeSealed(fileOf(dir), { keys });

/** Returns null if the run did not end, or if the file is damaged. */
export function runEntries(dir: string): readonly ActionKey[] | null {
  const found = readSealed<{ readonly keys: readonly ActionKey[] }>(fileOf(dir), { keys: 'list' });
  return found === null || found === 'damaged' ? null : found.value.keys;
}
