/**
 * `roots/`: the entries that an experiment used when it last ran. There is one file for each spec
 * and selection of its cells. Only `gc` reads them: an entry that no root names was not used
 * lately.
 */
import { createHash } from 'node:crypto';
import { existsSync, rmSync, statSync, utimesSync } from 'node:fs';
import path from 'node:path';
import { ownNames } from '../base/untrusted/paths.ts';
import type { ActionKey } from '../plan/types.ts';
import { readSealed, writeSealed } from './sealed.ts';

export interface Root {
  readonly file: string;
  readonly spec: string;
  readonly keys: readonly ActionKey[];
  /** When the entries were last used, in milliseconds since 1970. */
  readonly used: number;
}

const SHAPE = { spec: 'string', keys: 'list' } as const;

/**
 * Records that the entries are used now. Writes the file only if it does not exist; otherwise sets
 * its time.
 */
export function saveRoot(root: string, spec: string, keys: readonly ActionKey[]): void {
  const file = path.join(
    root,
    'roots',
    `${createHash('sha256')
      .update(JSON.stringify([spec, ...keys]))
      .digest('hex')
      .slice(0, 16)}.json`,
  );
  if (existsSync(file) && readSealed(file, SHAPE) !== 'damaged') {
    const now = new Date();
    utimesSync(file, now, now);
  } else writeSealed(file, { spec, keys });
}

/**
 * Returns all roots. Removes a damaged one: the next run writes it again, and until then its
 * entries count as last used when they were made.
 */
export function readRoots(root: string): Root[] {
  return ownNames(root, 'roots')
    .filter((name) => name.endsWith('.json'))
    .flatMap((name) => {
      const file = path.join(root, 'roots', name),
        found = readSealed<{ spec: string; keys: ActionKey[] }>(file, SHAPE);
      if (found === 'damaged') rmSync(file, { recursive: true, force: true });
      return found === null || found === 'damaged'
        ? []
        : [{ file, ...found.value, used: statSync(file).mtimeMs }];
    });
}
