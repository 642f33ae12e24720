/**
 * `environments/`: a record for each machine and set of versions that stages ran on. Manifests name
 * these records by digest.
 */
import { renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Digest, JsonObject } from '../api.ts';
import { sha256 } from '../base/sha256.ts';
import { makeFolder } from './folders.ts';
import { readRegularOr } from './regular.ts';

/** Writes the record unless it exists, and returns its digest. */
export function rememberEnvironment(root: string, environment: JsonObject): Digest {
  const text = `${JSON.stringify(environment, null, 2)}\n`,
    digest = sha256(text);
  const file = path.join(root, 'environments', `${digest}.json`);
  if (readRegularOr(file)?.toString() !== text) {
    makeFolder(path.dirname(file));
    const draft = `${file}.${process.pid}`;
    writeFileSync(draft, text);
    renameSync(draft, file);
  }
  return `sha256:${digest}` as Digest;
}

/** Whether a record's content no longer matches its name, which is its digest. */
export const isDamagedEnvironment = (file: string): boolean => {
  const text = readRegularOr(file)?.toString() ?? null;
  return text === null || `${sha256(text)}.json` !== path.basename(file);
};
