/**
 * `code/`: the files and packages that each code version covers, so that a miss can name the one
 * that changed.
 */
import path from 'node:path';
import type { ClosureOf } from './explain.ts';
import { readSealed, writeSealed } from './sealed.ts';

interface CodeFile {
  readonly closure: { readonly [part: string]: string };
}

const SHAPE = { closure: 'object' } as const;

const fileOf = (root: string, code: string): string =>
  path.join(root, 'code', `${code.replace('sha256:', '')}.json`);

/** Writes the record of a code version if it is missing or damaged. */
export function rememberCode(
  root: string,
  code: string,
  closure: { readonly [part: string]: string },
): void {
  const file = fileOf(root, code),
    found = readSealed<CodeFile>(file, SHAPE);
  if (found === null || found === 'damaged') writeSealed(file, { closure });
}

/** Returns null if the record is missing or damaged; an explanation is then less precise. */
export const recallCode =
  (root: string): ClosureOf =>
  (code) => {
    const found = readSealed<CodeFile>(fileOf(root, code), SHAPE);
    return found === null || found === 'damaged' ? null : found.value.closure;
  };
