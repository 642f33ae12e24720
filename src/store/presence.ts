/**
 * Runs and `gc` keep out of each other's way: a run counts on entries that it holds no lease of, those it found and those
 * it has made. Each puts up its sign first and looks for the other's then, so that never both go on: `gc` gives up, a run waits.
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

/** What a sign begins with; leases begin with a key. */
const SWEEPING = 'sweeping',
  RUNNING = 'running';

/** Of a run, until the store is closed. @param tell that it waits */
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
  /** Shows other hosts that it goes on. */
  beat(): void;
  end(): void;
}

/** @throws UserFault while a run, or another gc, uses the store */
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
      `${other.name.startsWith(SWEEPING) ? 'another gc' : 'a run'} is using ${root} (process ${other.pid})`,
      'wait for it to end',
    );
  }
  return { beat, end };
}

/** Signs and leases of processes that live. Another host's count while their heart beats, and go when it doesn't; both times are the file system's own. */
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
