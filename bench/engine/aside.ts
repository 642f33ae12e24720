/**
 * Folders go out of the way, and are removed when the bench ends: ext4 without a journal looks at
 * every inode freed in the last minutes before it hands out another, so the next command to make
 * files would pay for a removal.
 */
import { existsSync, mkdtempSync, renameSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/**
 * @param parts files and folders in `dir`; those that do not exist are skipped
 */
export function setAside(dir: string, parts: readonly string[]): void {
  const there = parts.filter((part) => existsSync(join(dir, part)));
  if (there.length === 0) return;
  const aside = mkdtempSync(join(dirname(dir), 'aside-'));
  for (const part of there) renameSync(join(dir, part), join(aside, basename(part)));
}
