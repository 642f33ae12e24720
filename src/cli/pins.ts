/** `dosimeter pin` and `dosimeter unpin`: protect results from `gc`. */
import path from 'node:path';
import { UserFault } from '../api.ts';
import type { ActionKey } from '../plan/types.ts';
import { listRuns } from '../run/log/run-folder.ts';
import { prepare } from '../run/prepare.ts';
import { runEntries } from '../run/run-status.ts';
import { runsDir } from '../run/state-folder.ts';
import { onDisk } from '../store/faults.ts';
import { pin, readPins, unpin } from '../store/roots.ts';
import { openStore } from '../store/store.ts';
import type { SpecOptions } from './options.ts';
import { count, json, out, say, table } from './terminal.ts';

interface Pinnable {
  readonly name: string;
  readonly of: string;
  readonly keys: readonly ActionKey[];
  /** The number of stages that are not in the store. */
  readonly lacking: number;
}

/** @param what a spec or a run's id; without it, the pins are listed */
export async function pinCommand(
  what: string | undefined,
  options: SpecOptions & { readonly name?: string },
): Promise<number> {
  const root = path.resolve(options.store);
  if (what === undefined) return list(root, options.json === true);
  const run = listRuns(runsDir()).find(({ id }) => id === what);
  const { name, of, keys, lacking } = run
    ? pinnableRun(run, root)
    : await pinnableSpec(what, options);
  if (keys.length === 0)
    throw new UserFault(
      `nothing of ${what} is in ${root}`,
      run ? 'give its store with --store' : `run it first: dosimeter run ${what}`,
    );
  const as = options.name ?? name;
  await onDisk(root, () => pin(root, { name: as, of, keys }));
  if (options.json) json({ name: as, of, entries: keys.length, lacking });
  else {
    const entries = keys.length === 1 ? '1 entry' : `${keys.length} entries`;
    const rest =
      lacking > 0
        ? `; ${count(lacking, 'stage')} not in the store yet: pin again when they are`
        : '';
    say(`pinned ${as}: ${entries}${rest}`);
  }
  return 0;
}

async function pinnableSpec(spec: string, options: SpecOptions): Promise<Pinnable> {
  const { experiment, statuses, store } = await prepare(spec, options, { fetch: false, note: say });
  store.close();
  const keys = statuses.flatMap(({ entry }) => (entry ? [entry.key] : []));
  return {
    name: experiment.name,
    of: path.resolve(experiment.file),
    keys,
    lacking: statuses.length - keys.length,
  };
}

function pinnableRun(
  { id, dir }: { readonly id: string; readonly dir: string },
  root: string,
): Pinnable {
  const keys = runEntries(dir);
  if (typeof keys === 'string')
    throw new UserFault(
      `the run ${id} ${keys}, so the entries that it used are not known`,
      'pin its spec instead',
    );
  const store = openStore(root);
  const there = keys.filter((key) => store.lookUp(key).state === 'hit');
  return { name: id, of: id, keys: there, lacking: keys.length - there.length };
}

function list(root: string, asJson: boolean): number {
  const pins = readPins(root);
  if (asJson)
    json(pins.map(({ name, of, keys, pinned }) => ({ name, of, entries: keys.length, pinned })));
  else if (pins.length === 0) say('nothing is pinned: dosimeter pin <spec or run>');
  else
    out(
      table([
        ['NAME', 'ENTRIES', 'SINCE (UTC)', 'OF'],
        ...pins.map(({ name, of, keys, pinned }) => [
          name,
          String(keys.length),
          pinned.slice(0, 16).replace('T', ' '),
          of,
        ]),
      ]),
    );
  return 0;
}

/** @param name the name of a pin, as `pin` lists it */
export async function unpinCommand(
  name: string,
  options: { readonly store: string },
): Promise<number> {
  const root = path.resolve(options.store);
  if (!(await onDisk(root, () => unpin(root, name))))
    throw new UserFault(
      `nothing is pinned as "${name}"`,
      'dosimeter pin, without an argument, lists what is pinned',
    );
  say(`unpinned ${name}`);
  return 0;
}
