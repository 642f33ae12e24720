/**
 * Roots and pins, which tell `gc` what to keep. A root is a file of `roots/` that lists the entries
 * that a spec's cells, or a selection of them, used at one time. An entry that no root names was
 * not used lately. A pin is a file of `pins/`: a named set of entries that is never swept.
 */
import { existsSync, rmSync, statSync, utimesSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { sha256 } from '../base/sha256.ts';
import { ownFolder, ownNames } from '../base/untrusted/paths.ts';
import type { ActionKey } from '../plan/types.ts';
import { readSealed, writeSealed } from './sealed.ts';
import { readdirOr } from './sweep.ts';

export interface Root {
  readonly file: string;
  readonly spec: string;
  readonly keys: readonly ActionKey[];
  /** When the entries were last used, in ms since 1970. */
  readonly used: number;
}

const SHAPE = { spec: 'string', keys: 'list' } as const;

/** Records that a spec's cells use these entries now. */
export function saveRoot(root: string, spec: string, keys: readonly ActionKey[]): void {
  const name = sha256(JSON.stringify([spec, ...keys])).slice(0, 16),
    file = path.join(root, 'roots', `${name}.json`);
  if (existsSync(file) && readSealed(file, SHAPE) !== 'damaged') {
    const now = new Date();
    utimesSync(file, now, now);
  } else writeSealed(file, { spec, keys });
}

/**
 * Returns all roots. Removes damaged roots: the next run writes them again, and until then entries
 * that no other root names count as last used when they were made.
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
        : [{ file, ...found, used: statSync(file).mtimeMs }];
    });
}

interface Pin {
  readonly name: string;
  /** The spec's path, or the run's id. */
  readonly of: string;
  readonly keys: readonly ActionKey[];
  /** When the entries were pinned: ISO 8601, UTC. */
  readonly pinned: string;
}

const PIN_SHAPE = { name: 'string', of: 'string', keys: 'list', pinned: 'string' } as const;

const pinFile = (root: string, name: string): string =>
  path.join(root, 'pins', `${encodeURIComponent(name)}.json`);

/**
 * Pins entries under a name, in place of what the same spec or run had pinned under it. Throws
 * `UserFault` if the name belongs to another spec or run.
 */
export function pin(root: string, { name, of, keys }: Omit<Pin, 'pinned'>): void {
  const file = pinFile(root, name),
    before = readSealed<Pin>(file, PIN_SHAPE);
  if (before !== null && before !== 'damaged' && before.of !== of)
    throw new UserFault(
      `the pin "${name}" belongs to ${before.of}`,
      'give this one another name with --name',
    );
  writeSealed(file, { name, of, keys, pinned: new Date().toISOString() });
}

/** Removes a pin. Returns whether it existed. */
export function unpin(root: string, name: string): boolean {
  ownFolder(root, 'pins');
  const file = pinFile(root, name),
    found = existsSync(file);
  rmSync(file, { recursive: true, force: true });
  return found;
}

/** Returns all pins. Throws `UserFault` if one is damaged: `gc` would sweep its entries. */
export function readPins(root: string): Pin[] {
  const dir = path.join(root, 'pins');
  return readdirOr(dir)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .flatMap((name) => {
      const found = readSealed<Pin>(path.join(dir, name), PIN_SHAPE);
      if (found !== 'damaged') return found ?? [];
      const pinName = decodeURIComponent(name.slice(0, -5));
      throw new UserFault(
        `the pin "${pinName}" was damaged: what it held is not known`,
        `pin it again, or give it up: dosimeter unpin ${pinName}`,
      );
    });
}
