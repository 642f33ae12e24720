/** Looks for a secret in files of any format, because a secret must not be stored. */
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { secretLines } from '../../../src/base/secret.ts';

/**
 * Returns the path, relative to `dir`, of the first file that contains the secret or one line of
 * it. Returns null if there is none, or if the secret is too short to tell.
 */
export async function fileWith(dir: string, secret: string): Promise<string | null> {
  const wanted = secretLines(secret).map((line) => Buffer.from(line));
  if (wanted.length === 0) return null;
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    if (await holds(file, wanted)) return relative(dir, file);
  }
  return null;
}

async function holds(file: string, wanted: readonly Buffer[]): Promise<boolean> {
  const longest = Math.max(...wanted.map(({ length }) => length));
  // A secret may begin in one chunk and end in the next.
  let before: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(file)) {
    const both = Buffer.concat([before, chunk as Buffer]);
    if (wanted.some((text) => both.includes(text))) return true;
    before = both.subarray(Math.max(0, both.length - longest + 1));
  }
  return false;
}
