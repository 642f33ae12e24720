/**
 * Keeps runs and `gc` out of each other's way. A run relies on entries whose lease it does not
 * hold: those that it found and those that it has made. Each side makes its own sign before it
 * looks for the other's, so the two never proceed at once: `gc` gives up, and a run waits.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserFault } from '../api.ts';
import type { ActionKey } from '../plan/types.ts';
import { onDisk } from './faults.ts';
import { makeFolder } from './folders.ts';
import { SILENT_MS } from './lease.ts';
import { newOwner, ownerName, ownerState, parseOwner } from './owner.ts';
import type { Store } from './store.ts';

const POLL_MS = 250;

/** The first part of a sign's name; the names of leases start with a key. */
const SWEEPING = 'sweeping',
  RUNNING = 'running';

/**
 * Marks a run as using the store until the store is closed. Waits while `gc` is sweeping.
 * @param tell called once if the run has to wait
 */
export async function enterStore(store: Store, tell: (message: string) => void): Promise<void> {
  store.take(`${RUNNING}-${randomUUID()}` as ActionKey);
  const sweeper = (): number | undefined =>
    living(store.root).find(({ name }) => name.startsWith(SWEEPING))?.pid;
  for (
    let pid = await onDisk(store.root, sweeper), told = false;
    pid !== undefined;
    pid = await onDisk(store.root, sweeper)
  ) {
    if (!told) tell(`gc is sweeping ${store.root} (process ${pid}); waiting`);
    told = true;
    await sleep(POLL_MS);
  }
}

export interface Sweeping {
  /** Shows other hosts that the sweep goes on. */
  beat(): void;
  end(): void;
}

/** Marks the store as being swept. Throws `UserFault` while a run or another `gc` uses it. */
export function beginSweeping(root: string): Sweeping {
  const dir = path.join(root, 'leases'),
    sign = path.join(dir, `${SWEEPING}.${ownerName(newOwner())}`);
  const beat = (): void => writeFileSync(sign, '');
  const end = (): void => rmSync(sign, { force: true });
  makeFolder(dir);
  beat();
  const other = living(root).find(({ name }) => path.join(dir, name) !== sign);
  if (other) {
    end();
    throw new UserFault(
      `${other.name.startsWith(SWEEPING) ? 'another gc' : 'a run'} is using ${root} (process ` +
        `${other.pid})`,
      'wait for it to end',
    );
  }
  return { beat, end };
}

/**
 * Returns the signs and leases of living processes. Those of another host count while they have a
 * heartbeat and are removed when they have none. All times come from the file system's clock.
 */
function living(root: string): { readonly name: string; readonly pid: number }[] {
  const dir = path.join(root, 'leases');
  if (!existsSync(dir)) return [];
  let now: number | undefined;
  const isSilent = (name: string): boolean => {
    if (now === undefined) {
      const clock = path.join(dir, `clock.${process.pid}`);
      writeFileSync(clock, '');
      now = statSync(clock).mtimeMs;
      rmSync(clock);
    }
    const silent =
      now - (statSync(path.join(dir, name), { throwIfNoEntry: false })?.mtimeMs ?? 0) > SILENT_MS;
    if (silent) rmSync(path.join(dir, name), { force: true });
    return silent;
  };
  return readdirSync(dir).flatMap((name) => {
    const owner = parseOwner(name.slice(name.indexOf('.') + 1)),
      state = owner && ownerState(owner);
    return owner && (state === 'alive' || (state === 'unknown' && !isSilent(name)))
      ? [{ name, pid: owner.pid }]
      : [];
  });
}
