/** `roots/`: which entries an experiment used when it last ran. Only `gc` reads them: what no root names was used by nothing lately. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { ActionKey } from '../plan/types.ts';

export interface Root {
  readonly spec: string;
  readonly keys: readonly ActionKey[];
  /** Milliseconds since 1970. */
  readonly used: number;
}

export function saveRoot(root: string, spec: string, keys: readonly ActionKey[]): void {
  const dir = path.join(root, 'roots');
  const file = path.join(dir, `${createHash('sha256').update(spec).digest('hex').slice(0, 16)}.json`);
  const text = JSON.stringify({ spec, keys });
  if (existsSync(file) && readFileSync(file, 'utf8') === text) { const now = new Date(); utimesSync(file, now, now); return; }
  mkdirSync(dir, { recursive: true });
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, text);
  renameSync(draft, file);
}

export function readRoots(root: string, mtimeOf: (file: string) => number): Root[] {
  const dir = path.join(root, 'roots');
  if (!existsSync(dir)) return [];
  return readdirSync(dir).filter((name) => name.endsWith('.json')).map((name) => {
    const file = path.join(dir, name);
    return { ...JSON.parse(readFileSync(file, 'utf8')) as { spec: string; keys: ActionKey[] }, used: mtimeOf(file) };
  });
}
