/** `pins/`: named sets of entries that `gc` never sweeps: the results of a spec or of a run. */
import { existsSync, rmSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { ownFolder } from '../base/untrusted/paths.ts';
import type { ActionKey } from '../plan/types.ts';
import { readSealed, writeSealed } from './sealed.ts';
import { readdirOr } from './sweep.ts';

export interface Pin {
  readonly name: string;
  /** The spec's path, or the run's id. */
  readonly of: string;
  readonly keys: readonly ActionKey[];
  /** ISO 8601, UTC. */
  readonly pinned: string;
}

const SHAPE = { name: 'string', of: 'string', keys: 'list', pinned: 'string' } as const;

const fileOf = (root: string, name: string): string =>
  path.join(root, 'pins', `${encodeURIComponent(name)}.json`);

/**
 * Pins entries under a name. If the same spec or run has already pinned that name, the new entries
 * replace the old ones. Throws `UserFault` if the name belongs to another spec or run.
 */
export function pin(root: string, { name, of, keys }: Omit<Pin, 'pinned'>): void {
  const file = fileOf(root, name),
    before = readSealed<Pin>(file, SHAPE);
  if (before !== null && before !== 'damaged' && before.value.of !== of)
    throw new UserFault(
      `the pin "${name}" belongs to ${before.value.of}`,
      'give this one another name with --name',
    );
  writeSealed(file, { name, of, keys, pinned: new Date().toISOString() });
}

/** Removes a pin and returns whether it existed. */
export function unpin(root: string, name: string): boolean {
  ownFolder(root, 'pins');
  const file = fileOf(root, name),
    found = existsSync(file);
  rmSync(file, { recursive: true, force: true });
  return found;
}

/**
 * Returns all pins. Throws `UserFault` if one is damaged, because its entries would otherwise be
 * swept unnoticed.
 */
export function readPins(root: string): Pin[] {
  const dir = path.join(root, 'pins');
  return readdirOr(dir)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .flatMap((name) => {
      const found = readSealed<Pin>(path.join(dir, name), SHAPE);
      if (found === 'damaged')
        throw new UserFault(
          `the pin "${decodeURIComponent(name.slice(0, -5))}" was damaged: what it held is not ` +
            'known',
          `pin it again, or give it up: dosimeter unpin ${decodeURIComponent(name.slice(0, -5))}`,
        );
      return found === null ? [] : [found.value];
    });
}
