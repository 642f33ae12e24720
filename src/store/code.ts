/** `code/`: what each code version was made of, so that a miss can name the file that changed. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { ClosureOf } from './explain.ts';

const fileOf = (root: string, code: string): string => path.join(root, 'code', `${code.replace('sha256:', '')}.json`);

export function rememberCode(root: string, code: string, closure: { readonly [part: string]: string }): void {
  const file = fileOf(root, code);
  if (existsSync(file)) return;
  mkdirSync(path.dirname(file), { recursive: true });
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, JSON.stringify(closure));
  renameSync(draft, file);
}

export const recallCode = (root: string): ClosureOf => (code) => {
  const file = fileOf(root, code);
  if (!existsSync(file)) return null;
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as { readonly [part: string]: string };
  } catch {
    return null; // torn by a power cut: the explanation is less precise
  }
};
