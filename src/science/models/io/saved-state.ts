/**
 * The saved state of a long computation. An interrupted computation can continue from the state and
 * end with the same bits. The whole state is one file, `STEP.DIGEST.safetensors`, which is written
 * under another name, flushed and renamed. DIGEST, the SHA-256 of the content, shows whether the
 * file is damaged.
 */
import { mkdir, open, readdir, rename, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonObject } from '../../../api.ts';
import { hasCode } from '../../../base/system-error.ts';
import { sha256OfFile } from './large.ts';
import { readSafetensorsHeader } from './safetensors.ts';

const FILE = /^(\d+)\.([0-9a-f]{64})\.safetensors$/;

/**
 * Puts a new state into the folder, and then removes all other states.
 * @param facts kept in the file's metadata, as JSON
 * @param write writes the file at this path, with this metadata, and returns its SHA-256
 */
export async function storeState(
  dir: string,
  step: number,
  facts: object,
  write: (path: string, metadata: { readonly facts: string }) => Promise<string>,
): Promise<void> {
  await mkdir(dir, { recursive: true });
  const writing = join(dir, `.writing-${process.pid}`);
  const digest = await write(writing, { facts: JSON.stringify(facts) });
  const file = await open(writing, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  const name = `${step}.${digest}.safetensors`;
  await rename(writing, join(dir, name));
  for (const other of await readdir(dir))
    if (FILE.test(other) && other !== name) await rm(join(dir, other), { force: true });
  await utimes(dir, new Date(), new Date());
}

/**
 * Returns the latest undamaged state; null if there is none, or no folder. Throws if the file of
 * this state has no facts.
 * @param what returns what the log calls a damaged state, by the state's step
 */
export async function findState(
  dir: string,
  log: (message: string) => void,
  what = (step: number): string => `the state saved at step ${step}`,
): Promise<{ readonly step: number; readonly facts: JsonObject; readonly path: string } | null> {
  const names = await readdir(dir).catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  });
  const found = names.flatMap((name) => {
    const match = FILE.exec(name);
    return match ? [{ path: join(dir, name), step: Number(match[1]), digest: match[2] }] : [];
  });
  for (const { path, step, digest } of found.sort((a, b) => b.step - a.step)) {
    if ((await sha256OfFile(path)) !== digest) {
      log(`${what(step)} is damaged and ignored`);
      continue;
    }
    const { facts } = (await readSafetensorsHeader(path)).metadata;
    if (facts === undefined) throw new Error(`${path} is no saved state`);
    return { path, step, facts: JSON.parse(facts) as JsonObject };
  }
  return null;
}
