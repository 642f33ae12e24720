/** `dosimeter pin`, `unpin`, `push` and `pull`: keep or copy the results of a spec or a run. */
import path from 'node:path';
import { UserFault } from '../api.ts';
import type { ActionKey } from '../plan/types.ts';
import { listRuns } from '../run/log/run-folder.ts';
import { prepare } from '../run/prepare.ts';
import { chosenRemote, openObjects, pullSpec } from '../run/remote.ts';
import { runEntries } from '../run/run-status.ts';
import { runsDir } from '../run/state-folder.ts';
import { onDisk } from '../store/faults.ts';
import { enterStore } from '../store/gc.ts';
import { isRunId, type Objects } from '../store/remote/objects.ts';
import { pullEntries, pushEntries, Remote } from '../store/remote/remote.ts';
import { receiveRun, sendRun } from '../store/remote/send.ts';
import { pin, readPins, unpin } from '../store/roots.ts';
import { openStore, type Store } from '../store/store.ts';
import type { SpecOptions } from './options.ts';
import {
  count,
  DONE,
  entries,
  FAILED,
  json,
  megabytes,
  out,
  paint,
  say,
  table,
  warn,
} from './terminal.ts';

/** The entries of a spec or a run that the store has. */
interface Held {
  readonly keys: readonly ActionKey[];
  /** The number of stages that are not in the store. */
  readonly lacking: number;
}

/**
 * Returns a spec's entries in the store, the experiment's name, and the path of the spec (`of`).
 */
async function specEntries(
  spec: string,
  options: SpecOptions,
): Promise<Held & { readonly name: string; readonly of: string }> {
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

/**
 * Returns a run's entries in the store. Throws `UserFault` if the entries that it used are not
 * known.
 * @param hint what to do in that case
 */
function storedRunEntries(
  { id, dir }: { readonly id: string; readonly dir: string },
  store: Store,
  hint: string,
): Held {
  const used = runEntries(dir);
  if (typeof used === 'string')
    throw new UserFault(`the run ${id} ${used}, so the entries that it used are not known`, hint);
  const keys = used.filter((key) => store.lookUp(key).state === 'hit');
  return { keys, lacking: used.length - keys.length };
}

/**
 * Pins the results of a spec or a run, or lists the pins.
 * @param what a spec, or a run's id; without it, the pins are listed
 */
export async function pinCommand(
  what: string | undefined,
  options: SpecOptions & { readonly name?: string },
): Promise<number> {
  const root = path.resolve(options.store);
  if (what === undefined) return listPins(root, options.json === true);
  const run = listRuns(runsDir()).find(({ id }) => id === what);
  const { name, of, keys, lacking } = run
    ? {
        name: run.id,
        of: run.id,
        ...storedRunEntries(run, openStore(root), 'pin its spec instead'),
      }
    : await specEntries(what, options);
  if (keys.length === 0)
    throw new UserFault(
      `nothing of ${what} is in ${root}`,
      run ? 'give its store with --store' : `run it first: dosimeter run ${what}`,
    );
  const as = options.name ?? name;
  await onDisk(root, () => pin(root, { name: as, of, keys }));
  if (options.json) json({ name: as, of, entries: keys.length, lacking });
  else {
    const rest =
      lacking > 0
        ? `; ${count(lacking, 'stage')} not in the store yet: pin again when they are`
        : '';
    say(`pinned ${as}: ${entries(keys.length)}${rest}`);
  }
  return DONE;
}

function listPins(root: string, asJson: boolean): number {
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
  return DONE;
}

/** Gives up a pin. Throws `UserFault` if there is none of this name. */
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
  return DONE;
}

interface RemoteOptions extends SpecOptions {
  readonly remote?: string;
}

const KEY = /^[0-9a-f]{64}$/;

type What =
  { readonly keys: readonly ActionKey[] } | { readonly run: string } | { readonly spec: string };

/**
 * Returns what the arguments name.
 * @throws UserFault unless they are keys, one spec or one run
 */
function whatIsNamed(what: readonly string[]): What {
  if (what.every((one) => KEY.test(one))) return { keys: what as readonly ActionKey[] };
  const [one = '', ...more] = what;
  if (more.length > 0)
    throw new UserFault(
      `${what.length} things are named that are not all keys`,
      'name one spec, one run, or any number of keys of 64 hexadecimal digits',
    );
  return isRunId(one) ? { run: one } : { spec: one };
}

/**
 * Opens the remote that the options or the environment name. Throws `UserFault` if neither does.
 */
async function openRemote(options: RemoteOptions, push: boolean): Promise<Objects> {
  const remote = chosenRemote(options);
  if (remote === undefined)
    throw new UserFault('no remote is named', 'name it: --remote URI, or set DOSIMETER_REMOTE');
  return openObjects({ ...remote, push });
}

/**
 * Sends the named results to the remote. Returns FAILED if an entry is not sound, and so was not
 * sent.
 */
export async function pushCommand(
  given: readonly string[],
  options: RemoteOptions & { readonly force?: boolean },
): Promise<number> {
  const what = whatIsNamed(given);
  const store = openStore(path.resolve(options.store));
  const { keys, lacking } = await namedEntries(what, options, store);
  if (keys.length === 0)
    throw new UserFault(
      `nothing of ${given.join(' ')} is in ${store.root}`,
      'give its store with --store, or run it first',
    );
  const objects = await openRemote(options, true);
  const pushed = await onDisk(store.root, () =>
    pushEntries(objects, store, keys, options.force === true, say),
  );
  if ('run' in what) await sendRun(objects, what.run, keys);
  if (options.json) json({ remote: objects.uri, ...pushed, lacking });
  else {
    for (const { key, why } of pushed.unsound)
      out(`${paint.red('not sent')} ${key}: ${why} (dosimeter verify)`);
    const rest = lacking > 0 ? `; ${count(lacking, 'stage')} not in the store` : '';
    out(
      `${entries(pushed.sent)} (${megabytes(pushed.bytes)}) sent to ${objects.uri}; ` +
        `${pushed.present} were there${rest}`,
    );
  }
  return pushed.unsound.length === 0 ? DONE : FAILED;
}

/**
 * Returns the entries of what is named. Keys are returned as they are, even if the store lacks
 * them. Throws `UserFault` if there is no such run.
 */
async function namedEntries(what: What, options: SpecOptions, store: Store): Promise<Held> {
  if ('keys' in what) return { keys: what.keys, lacking: 0 };
  if ('spec' in what) return specEntries(what.spec, options);
  const run = listRuns(runsDir()).find(({ id }) => id === what.run);
  if (run === undefined)
    throw new UserFault(`there is no run ${what.run} here`, 'push its spec instead');
  return storedRunEntries(run, store, 'push its spec instead');
}

/**
 * Fetches the named results from the remote. Returns FAILED if an entry could not be fetched, or if
 * the remote lacks an entry of the named run or a named key. What the remote lacks of a spec is no
 * failure.
 */
export async function pullCommand(
  given: readonly string[],
  options: RemoteOptions,
): Promise<number> {
  const what = whatIsNamed(given);
  const objects = await openRemote(options, false);
  const root = path.resolve(options.store);
  const { fetched, here, bytes, lacking, failed } = await ('spec' in what
    ? onDisk(root, () => pullSpecEntries(what.spec, objects, options))
    : pullKeys(what, objects, openStore(root)));
  if (options.json) json({ remote: objects.uri, fetched, here, bytes, lacking, failed });
  else
    out(
      `${entries(fetched)} (${megabytes(bytes)}) fetched from ${objects.uri}; ${here} were here` +
        (lacking > 0 ? `; ${lacking} not there` : ''),
    );
  return failed > 0 || (lacking > 0 && !('spec' in what)) ? FAILED : DONE;
}

/**
 * Fetches a spec's entries from the remote. Returns how many were fetched, here, lacking or failed.
 */
async function pullSpecEntries(spec: string, objects: Objects, options: SpecOptions) {
  const prepared = await prepare(spec, options, { fetch: true, note: say });
  try {
    return await pullSpec(prepared, new Remote(objects, prepared.store, { tell: warn }), warn);
  } finally {
    prepared.store.close();
  }
}

/**
 * Fetches the entries of a run or of keys. Returns how many were fetched, here, lacking or failed.
 * Warns of each that the remote lacks.
 */
async function pullKeys(
  what: Exclude<What, { readonly spec: string }>,
  objects: Objects,
  store: Store,
) {
  return onDisk(store.root, async () => {
    try {
      const keys = 'run' in what ? await receiveRun(objects, what.run) : what.keys;
      await enterStore(store, warn);
      const remote = new Remote(objects, store, { tell: warn });
      const wanted = keys.map((key) => ({ key, volatile: null }));
      const { lacking, ...counts } = await pullEntries(remote, store, wanted);
      for (const key of lacking) warn(`${key} is not there`);
      await store.flush();
      return { ...counts, lacking: lacking.length };
    } finally {
      store.close();
    }
  });
}
