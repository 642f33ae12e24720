/**
 * Records of what made the entries. `code/` has the files and packages that each code version
 * covers, so that a miss can name the file or package that changed. `environments/` has a record
 * for each machine and set of versions that stages ran on. Manifests name code versions and
 * environments by digest.
 */
import path from 'node:path';
import type { Digest, JsonObject } from '../api.ts';
import { replaceFile } from '../base/replace-file.ts';
import { sha256 } from '../base/sha256.ts';
import { makeFolder } from './folders.ts';
import { readRegularOr } from './regular.ts';
import { readSealed, writeSealed } from './sealed.ts';

/** Writes the record of an environment unless it is there and whole. Returns its digest. */
export function rememberEnvironment(root: string, environment: JsonObject): Digest {
  const text = `${JSON.stringify(environment, null, 2)}\n`,
    digest = sha256(text);
  const file = path.join(root, 'environments', `${digest}.json`);
  if (readRegularOr(file)?.toString() !== text) {
    makeFolder(path.dirname(file));
    replaceFile(file, text);
  }
  return `sha256:${digest}` as Digest;
}

/** Whether the record of an environment is damaged: its name has to be the digest of its text. */
export const isDamagedEnvironment = (file: string): boolean => {
  const text = readRegularOr(file)?.toString() ?? null;
  return text === null || `${sha256(text)}.json` !== path.basename(file);
};

/** Returns the digests of a code version's files and packages, by name; null if it is unknown. */
export type ClosureOf = (code: string) => { readonly [part: string]: string } | null;

const fileOf = (root: string, code: string): string =>
  path.join(root, 'code', `${code.replace('sha256:', '')}.json`);

/** Writes the record of a code version unless it is there and whole. */
export function rememberCode(
  root: string,
  code: string,
  closure: { readonly [part: string]: string },
): void {
  if (recallCode(root)(code) === null) writeSealed(fileOf(root, code), { closure });
}

export const recallCode =
  (root: string): ClosureOf =>
  (code) => {
    type CodeFile = { readonly closure: { readonly [part: string]: string } };
    const found = readSealed<CodeFile>(fileOf(root, code), { closure: 'object' });
    return found === null || found === 'damaged' ? null : found.closure;
  };
