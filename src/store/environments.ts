/** `environments/`: on what stages ran, once for each machine and set of versions; manifests name it by digest. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Digest, JsonObject } from '../api.ts';
import { sha256 } from '../plan/sha256.ts';

/** Writes it where it is not there, or is not what it was. */
export function rememberEnvironment(root: string, environment: JsonObject): Digest {
  const text = `${JSON.stringify(environment, null, 2)}\n`,
    digest = sha256(text);
  const file = path.join(root, 'environments', `${digest}.json`);
  if (readOr(file) !== text) {
    mkdirSync(path.dirname(file), { recursive: true });
    const draft = `${file}.${process.pid}`;
    writeFileSync(draft, text);
    renameSync(draft, file);
  }
  return `sha256:${digest}` as Digest;
}

function readOr(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
