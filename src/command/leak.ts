/** Looks for a text in files, whatever they are: a secret must not get into what is stored. */
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';

/** Shorter than this a text is in many a file by chance. */
const SHORTEST = 4;

/** The first file below `dir` that holds `text`, by its path there; null: none does, or the text is too short to tell. */
export async function fileWith(dir: string, text: string): Promise<string | null> {
  if (text.length < SHORTEST) return null;
  const wanted = Buffer.from(text);
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    if (await holds(file, wanted)) return relative(dir, file);
  }
  return null;
}

async function holds(file: string, wanted: Buffer): Promise<boolean> {
  // The end of one chunk with the beginning of the next may be the text.
  let before: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(file)) {
    const both = Buffer.concat([before, chunk as Buffer]);
    if (both.includes(wanted)) return true;
    before = both.subarray(Math.max(0, both.length - wanted.length + 1));
  }
  return false;
}
