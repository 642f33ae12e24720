/** `pins/`: entries that `gc` never sweeps, under a name: a spec's results as they stood, or a run's. */
import { existsSync, rmSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
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

/** Pinned again, a name holds what is there now. @throws UserFault where the name is another spec's or run's, or was damaged */
export function pin(root: string, { name, of, keys }: Omit<Pin, 'pinned'>): void {
  const file = fileOf(root, name),
    before = readSealed<Pin>(file, SHAPE);
  if (before !== null && before !== 'damaged' && before.value.of !== of)
    throw new UserFault(
      `the pin "${name}" is of ${before.value.of}`,
      'give this one another name with --name',
    );
  writeSealed(file, { name, of, keys, pinned: new Date().toISOString() });
}

/** @returns whether there was one */
export function unpin(root: string, name: string): boolean {
  const file = fileOf(root, name),
    found = existsSync(file);
  rmSync(file, { recursive: true, force: true });
  return found;
}

/** @throws UserFault on a damaged one: what it held would be swept unseen */
export function readPins(root: string): Pin[] {
  const dir = path.join(root, 'pins');
  return readdirOr(dir)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .flatMap((name) => {
      const found = readSealed<Pin>(path.join(dir, name), SHAPE);
      if (found === 'damaged')
        throw new UserFault(
          `the pin "${decodeURIComponent(name.slice(0, -5))}" was damaged: what it held is not known`,
          `pin it again, or give it up: dosimeter unpin ${decodeURIComponent(name.slice(0, -5))}`,
        );
      return found === null ? [] : [found.value];
    });
}
