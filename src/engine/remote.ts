/** Remotes: of a run, and for `pull` and `push`, which copy the entries of a spec or a run. */
import path from 'node:path';
import { UserFault } from '../api.ts';
import type { StageStatus } from '../execute/survey.ts';
import { survey } from '../execute/survey.ts';
import type { ActionKey } from '../plan/types.ts';
import type { Objects } from '../remote/objects.ts';
import type { Counts, Pulled, Remote } from '../remote/remote.ts';
import { enterStore } from '../store/presence.ts';
import { saveRoot } from '../store/roots.ts';
import type { Note, Prepared } from './prepare.ts';

/** The remote of a run. */
export interface RemoteChoice {
  readonly uri: string;
  /** Whether the entries that the run makes are sent to it. */
  readonly push: boolean;
}

/**
 * Returns the remote that a run's options name, as a field, or no field.
 * @throws UserFault if entries should be sent but no remote is named
 */
export function remoteOf({
  remote,
  push = false,
}: {
  readonly remote?: string | undefined;
  readonly push?: boolean | undefined;
}): { readonly remote?: RemoteChoice } {
  if (remote !== undefined && remote !== '') return { remote: { uri: remote, push } };
  if (push)
    throw new UserFault(
      'no remote is named that entries could be sent to',
      'name it: --remote URI',
    );
  return {};
}

/**
 * Opens a remote.
 * @throws UserFault if it can't be used
 */
export async function openObjects({ uri, push }: RemoteChoice): Promise<Objects> {
  const { objectsAt } = await import('../remote/uri.ts');
  const objects = await objectsAt(uri);
  await objects.open(push);
  return objects;
}

/** What was transferred, as a sentence; null if nothing was. */
export function describeTransfers({ fetched, sent, failed }: Counts, uri: string): string | null {
  const parts = [
    ...(fetched > 0 ? [`${fetched} fetched from`] : []),
    ...(sent > 0 ? [`${sent} sent to`] : []),
  ];
  const failures = failed > 0 ? `${failed} not transferred (see above)` : '';
  if (parts.length === 0) return failures === '' ? null : `${uri}: ${failures}`;
  return `entries: ${parts.join(', ')} ${uri}${failures === '' ? '' : `; ${failures}`}`;
}

/** The entries of a spec after `pull`. */
export interface PulledSpec extends Omit<Pulled, 'lacking'> {
  /** How many stages of the spec have no entry in the store. */
  readonly lacking: number;
}

/**
 * Fetches every entry of a spec that the remote has. A stage's key is known once its inputs are
 * here, so the grid is looked through again after each round.
 */
export async function pullSpec(
  { plan, assets, store, experiment, statuses }: Prepared,
  remote: Remote,
  note: Note,
): Promise<PulledSpec> {
  const { pullEntries } = await import('../remote/remote.ts');
  await enterStore(store, note);
  const here = statuses.filter(({ entry }) => entry !== null).length;
  const asked = new Set<ActionKey>();
  for (let now = statuses; ; now = survey(plan, assets, store)) {
    const wanted = unasked(now, asked);
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

function unasked(statuses: readonly StageStatus[], asked: Set<ActionKey>) {
  return statuses.flatMap(({ state, key, stage }) => {
    if (state !== 'ready' || key === null || asked.has(key)) return [];
    asked.add(key);
    return [{ key, volatile: stage.descriptor.volatile ?? [] }];
  });
}
