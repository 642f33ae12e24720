/** `dosimeter push` and `dosimeter pull`: copy entries to a remote store and from it. */
import path from 'node:path';
import { UserFault } from '../api.ts';
import type { ActionKey } from '../plan/types.ts';
import { listRuns } from '../run/log/run-folder.ts';
import { prepare } from '../run/prepare.ts';
import { openObjects, pullSpec, remoteOf } from '../run/remote.ts';
import { runEntries } from '../run/run-status.ts';
import { runsDir } from '../run/state-folder.ts';
import { onDisk } from '../store/faults.ts';
import { enterStore } from '../store/gc.ts';
import type { Objects } from '../store/remote/objects.ts';
import { isRunId } from '../store/remote/objects.ts';
import { createRemote, pullEntries, pushEntries } from '../store/remote/remote.ts';
import { receiveRun, sendRun } from '../store/remote/send.ts';
import type { Store } from '../store/store.ts';
import { openStore } from '../store/store.ts';
import type { PushOptions, RemoteOptions } from './commands/remote.ts';
import { count, json, out, paint, paintErr, say } from './terminal.ts';

const KEY = /^[0-9a-f]{64}$/;
const DONE = 0;
const FAILED = 1;

type What =
  { readonly keys: readonly ActionKey[] } | { readonly run: string } | { readonly spec: string };

/** @throws UserFault if the arguments are neither keys alone nor one spec or run */
function whatOf(what: readonly string[]): What {
  if (what.every((one) => KEY.test(one))) return { keys: what as readonly ActionKey[] };
  const [one = '', ...more] = what;
  if (more.length > 0)
    throw new UserFault(
      `${what.length} things are named that are not all keys`,
      'name one spec, one run, or any number of keys of 64 hexadecimal digits',
    );
  return isRunId(one) ? { run: one } : { spec: one };
}

async function openRemote(options: RemoteOptions, push: boolean): Promise<Objects> {
  const { remote } = remoteOf(options);
  if (remote === undefined)
    throw new UserFault('no remote is named', 'name it: --remote URI, or set DOSIMETER_REMOTE');
  return openObjects({ ...remote, push });
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
const entries = (n: number): string => (n === 1 ? '1 entry' : `${n} entries`);

export async function pushCommand(given: readonly string[], options: PushOptions): Promise<number> {
  const what = whatOf(given);
  const store = openStore(path.resolve(options.store));
  const { keys, lacking } = await pushable(what, options, store);
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

async function pushable(
  what: What,
  options: PushOptions,
  store: Store,
): Promise<{ readonly keys: readonly ActionKey[]; readonly lacking: number }> {
  if ('keys' in what) return { keys: what.keys, lacking: 0 };
  if ('spec' in what) {
    const { statuses } = await prepare(what.spec, options, { fetch: false, note: say });
    const keys = statuses.flatMap(({ entry }) => (entry ? [entry.key] : []));
    return { keys, lacking: statuses.length - keys.length };
  }
  const run = listRuns(runsDir()).find(({ id }) => id === what.run);
  if (run === undefined)
    throw new UserFault(`there is no run ${what.run} here`, 'push its spec instead');
  const known = runEntries(run.dir);
  if (typeof known === 'string')
    throw new UserFault(
      `the run ${what.run} ${known}, so the entries that it used are not known`,
      'push its spec instead',
    );
  const keys = known.filter((key) => store.lookUp(key).state === 'hit');
  return { keys, lacking: known.length - keys.length };
}

export async function pullCommand(
  given: readonly string[],
  options: RemoteOptions,
): Promise<number> {
  const what = whatOf(given);
  const objects = await openRemote(options, false);
  const root = path.resolve(options.store);
  const store = 'spec' in what ? null : openStore(root);
  const note = (message: string): void => say(paintErr.yellow(message));
  const pulled = await onDisk(root, async () => {
    if (store === null) {
      const prepared = await prepare(given[0] ?? '', options, { fetch: true, note: say });
      try {
        const remote = createRemote(objects, prepared.store, { tell: note });
        return await pullSpec(prepared, remote, note);
      } finally {
        prepared.store.close();
      }
    }
    try {
      const keys = 'run' in what ? await receiveRun(objects, what.run) : whatKeys(what);
      await enterStore(store, note);
      const remote = createRemote(objects, store, { tell: note });
      const wanted = keys.map((key) => ({ key, volatile: null }));
      const { lacking, ...counts } = await pullEntries(remote, store, wanted);
      for (const key of lacking) note(`${key} is not there`);
      await store.flush();
      return { ...counts, lacking: lacking.length };
    } finally {
      store.close();
    }
  });
  const { fetched, here, bytes, lacking, failed } = pulled;
  if (options.json) json({ remote: objects.uri, fetched, here, bytes, lacking, failed });
  else
    out(
      `${entries(fetched)} (${megabytes(bytes)}) fetched from ${objects.uri}; ${here} were here` +
        (lacking > 0 ? `; ${lacking} not there` : ''),
    );
  return failed > 0 || (lacking > 0 && !('spec' in what)) ? FAILED : DONE;
}

const whatKeys = (what: What): readonly ActionKey[] => ('keys' in what ? what.keys : []);
