/**
 * Moves folders out of the way, to be removed when the bench ends. Without a journal, ext4 looks at
 * every inode freed in the last minutes before it hands out another, so a removal would slow down
 * the next command that makes files.
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
