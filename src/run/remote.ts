/** Opens the remote of a run, foresees what a run would fetch, and pulls a spec's entries. */
import path from 'node:path';
import { UserFault } from '../api.ts';
import type { ActionKey, StageId } from '../plan/types.ts';
import { enterStore } from '../store/gc.ts';
import { bytesOf, keptFiles, type Manifest } from '../store/manifest.ts';
import type { Objects } from '../store/remote/objects.ts';
import type { Counts, Remote } from '../store/remote/remote.ts';
import { saveRoot } from '../store/roots.ts';
import type { Store } from '../store/store.ts';
import { type StageStatus, survey } from './execute/survey.ts';
import type { Note, Prepared } from './prepare.ts';

/** The most manifests that are read at once. */
const MANIFESTS = 16;

export interface RemoteChoice {
  readonly uri: string;
  /** Whether the run's new entries are sent to it. */
  readonly push: boolean;
}

/**
 * Returns the remote that the options name; undefined if they name none.
 * @throws UserFault if entries should be sent but no remote is named
 */
export function chosenRemote({
  remote: uri = '',
  push = false,
}: {
  readonly remote?: string | undefined;
  readonly push?: boolean | undefined;
}): RemoteChoice | undefined {
  if (uri !== '') return { uri, push };
  if (!push) return undefined;
  throw new UserFault('no remote is named that entries could be sent to', 'name it: --remote URI');
}

/**
 * Opens the objects of a remote, for sending too if `push` asks for it.
 * @throws UserFault if the remote can't be used
 */
export async function openObjects({ uri, push }: RemoteChoice): Promise<Objects> {
  const { objectsAt } = await import('../store/remote/remote.ts');
  const objects = await objectsAt(uri);
  await objects.open(push);
  return objects;
}

/**
 * Returns a sentence on the entries that were transferred or could not be; null if there are none.
 */
export function describeTransfers({ fetched, sent, failed }: Counts, uri: string): string | null {
  const parts = [
    ...(fetched > 0 ? [`${fetched} fetched from`] : []),
    ...(sent > 0 ? [`${sent} sent to`] : []),
  ];
  const failures = failed > 0 ? `${failed} not transferred (see above)` : '';
  if (parts.length === 0) return failures === '' ? null : `${uri}: ${failures}`;
  return `entries: ${parts.join(', ')} ${uri}${failures === '' ? '' : `; ${failures}`}`;
}

/**
 * Returns the plan, in which stages that the remote has count as cached, and the bytes that would
 * be fetched for each of these. Only manifests are read, so an entry may still be refused when it
 * arrives. A stage's key is known once the manifests of its inputs are, so manifests are read in
 * rounds, and the grid is surveyed again after each.
 * @throws RemoteFault if the remote does not answer
 */
export async function foreseeFetches(
  prepared: Prepared,
  objects: Objects,
  note: Note,
): Promise<{ readonly prepared: Prepared; readonly bytes: ReadonlyMap<StageId, number> }> {
  const [{ receiveManifest }, { default: PQueue }] = await Promise.all([
    import('../store/remote/receive.ts'),
    import('p-queue'),
  ]);
  const { plan, assets, store } = prepared;
  const manifests = new Map<ActionKey, Manifest>();
  const asked = new Set<ActionKey>();
  const queue = new PQueue({ concurrency: MANIFESTS });
  const lookUp: Store['lookUp'] = (key) => {
    const here = store.lookUp(key),
      manifest = manifests.get(key);
    if (here.state === 'hit' || manifest === undefined) return here;
    return { state: 'hit', entry: { key, dir: store.entryDir(key), manifest } };
  };
  let { statuses } = prepared;
  for (;;) {
    const wanted = takeUnasked(statuses, asked);
    if (wanted.length === 0) break;
    await queue.addAll(
      wanted.map(({ key, volatile }) => async () => {
        const described = await receiveManifest(objects, key, volatile);
        if (described.state === 'known') manifests.set(key, described.manifest);
        if (described.state === 'refused')
          note(`${key.slice(0, 10)}: what ${objects.uri} holds is refused: ${described.why}`);
      }),
    );
    statuses = survey(plan, assets, { lookUp });
  }
  const bytes = new Map<StageId, number>();
  const told = statuses.map((status): StageStatus => {
    const manifest = status.key === null ? undefined : manifests.get(status.key);
    if (status.state !== 'cached' || manifest === undefined) return status;
    bytes.set(status.stage.id, bytesOf(keptFiles(manifest)));
    return { ...status, reason: `in ${objects.uri} since ${manifest.created.slice(0, 10)}` };
  });
  return { prepared: { ...prepared, statuses: told }, bytes };
}

/**
 * Fetches every entry of a spec that the remote has, in rounds as `foreseeFetches`. Returns also
 * how many entries the store had before (`here`), and how many are still missing (`lacking`).
 */
export async function pullSpec(
  { plan, assets, store, experiment, statuses }: Prepared,
  remote: Remote,
  note: Note,
) {
  const { pullEntries } = await import('../store/remote/remote.ts');
  await enterStore(store, note);
  const here = statuses.filter(({ entry }) => entry !== null).length;
  const asked = new Set<ActionKey>();
  for (let now = statuses; ; now = survey(plan, assets, store)) {
    const wanted = takeUnasked(now, asked);
    if (wanted.length > 0) {
      await pullEntries(remote, store, wanted);
      continue;
    }
    const keys = now.flatMap(({ entry }) => (entry ? [entry.key] : []));
    if (keys.length > 0) saveRoot(store.root, path.resolve(experiment.file), keys);
    await store.flush();
    return { ...(await remote.settled()), here, lacking: now.length - keys.length };
  }
}

/** Returns the missing entries whose keys are known and not in `asked`, to which it adds them. */
function takeUnasked(statuses: readonly StageStatus[], asked: Set<ActionKey>) {
  return statuses.flatMap(({ state, key, entry, stage }) => {
    if (state !== 'ready' || key === null || entry !== null || asked.has(key)) return [];
    asked.add(key);
    return [{ key, volatile: stage.descriptor.volatile ?? [] }];
  });
}
