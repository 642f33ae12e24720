/**
 * Garbage collection of a remote: removes damaged manifests, entries until the remote is no larger
 * than a given size (those that were sent longest ago go first), and objects that no entry needs.
 * Nothing that was written within the grace period is removed: a push by an older version of the
 * program, which makes no marker, may rely on it.
 *
 * Pushes and a sweep of one remote are kept out of each other's way, because a push relies on
 * objects that it finds and that no entry needs yet. Each side writes its own marker before it
 * looks for the other's, so the two never proceed at once: `gc` gives up, and a push waits. This
 * needs a remote whose listings show what was written before, as those of S3 and of most network
 * file systems do. A marker is renewed every minute. A marker that was not renewed for 15 minutes,
 * by the remote's own clock, no longer counts. A process that was stopped for more than half of
 * this time notices it (`stands`).
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import PQueue from 'p-queue';
import { UserFault } from '../../api.ts';
import type { ActionKey } from '../../plan/types.ts';
import { keptFiles, type Manifest, MANIFEST_FORMAT } from '../manifest.ts';
import {
  blobObject,
  environmentName,
  environmentObject,
  isRunId,
  type Listed,
  type Objects,
  RemoteFault,
} from './objects.ts';
import { receiveManifest } from './receive.ts';
import { receiveRun, sendText } from './send.ts';

const TRANSFERS = 6;

export interface RemoteSweepOptions {
  /** The most bytes of entries' files that may stay; null to remove no sound entry. */
  readonly maxBytes: number | null;
  readonly graceMs: number;
  /** Whether to only report what would be removed, and write nothing. */
  readonly dryRun: boolean;
}

export interface RemoteSwept {
  /** The entries that were removed to make room. In a dry run, all numbers are what would be. */
  readonly entries: readonly ActionKey[];
  /** The number of damaged manifests that were removed. */
  readonly damaged: number;
  /** How many other objects were removed, since no entry needs them. */
  readonly objects: number;
  /** The bytes of all that was removed. */
  readonly bytes: number;
  /** How many objects stay only because they are within the grace period: no entry needs them. */
  readonly young: number;
  /** What is left. The bytes are those of the entries' files. */
  readonly kept: { readonly entries: number; readonly bytes: number };
}

/**
 * Sweeps a remote. Throws UserFault if another process pushes to the remote or sweeps it (not in a
 * dry run), or if the remote has entries of another version of the program.
 */
export async function sweepRemote(
  objects: Objects,
  options: RemoteSweepOptions,
): Promise<RemoteSwept> {
  const marker = options.dryRun ? null : await beginSweep(objects);
  try {
    const found = await surveyRemote(objects);
    // A dry run writes no marker, which would show the remote's clock, and takes this computer's.
    const before = (marker?.now ?? Date.now()) - options.graceMs;
    const choice = chooseRemovals(found, options.maxBytes, before);
    if (marker !== null) await removeAll(objects, marker, choice);
    return choice.swept;
  } finally {
    await marker?.end();
  }
}

interface SentEntry {
  readonly key: ActionKey;
  readonly object: Listed;
  readonly manifest: Manifest;
}

interface Found {
  readonly blobs: readonly Listed[];
  readonly environments: readonly Listed[];
  readonly runs: readonly { readonly object: Listed; readonly keys: readonly ActionKey[] }[];
  readonly entries: readonly SentEntry[];
  /** The manifests that are refused. */
  readonly damaged: readonly Listed[];
}

/**
 * Lists what a remote holds. Manifests are listed last: one that is sent meanwhile may rely on an
 * object that was listed before.
 */
async function surveyRemote(objects: Objects): Promise<Found> {
  const [blobs, environments, runObjects] = await Promise.all(
    ['blobs', 'environments', 'runs'].map((folder) => listAll(objects, folder)),
  );
  const queue = new PQueue({ concurrency: TRANSFERS });
  const runs = await queue.addAll(
    (runObjects ?? []).flatMap((object) => {
      const [, id = ''] = /^v1\/runs\/(.+)\.json$/.exec(object.name) ?? [];
      return isRunId(id) ? [async () => ({ object, keys: await keysOfRun(objects, id) })] : [];
    }),
  );
  const entries: SentEntry[] = [],
    damaged: Listed[] = [];
  await queue.addAll(
    (await listAll(objects, 'entries')).flatMap((object) => {
      const key = keyInName(object.name);
      const read = async (own: ActionKey): Promise<void> => {
        const described = await receiveManifest(objects, own, null);
        if (described.state === 'known')
          entries.push({ key: own, object, manifest: described.manifest });
        else if (described.state === 'refused') {
          checkVersion(described.why, objects.uri);
          damaged.push(object);
        }
      };
      return key === null ? [] : [() => read(key)];
    }),
  );
  return { blobs: blobs ?? [], environments: environments ?? [], runs, entries, damaged };
}

async function listAll(objects: Objects, folder: string): Promise<readonly Listed[]> {
  const found: Listed[] = [];
  for await (const object of objects.list(folder)) found.push(object);
  return found;
}

/** Returns the key in the name of an entry's object; null for any other name. */
function keyInName(name: string): ActionKey | null {
  const [, key] = /^v1\/entries\/[0-9a-f]{2}\/([0-9a-f]{64})\.json$/.exec(name) ?? [];
  return (key as ActionKey | undefined) ?? null;
}

/** Returns the keys of a run's entries; [] if the run's record is damaged or gone. */
async function keysOfRun(objects: Objects, id: string): Promise<readonly ActionKey[]> {
  try {
    return await receiveRun(objects, id);
  } catch (error) {
    if (error instanceof UserFault && !(error instanceof RemoteFault)) return [];
    throw error;
  }
}

/**
 * @param why why the manifest was refused
 * @throws UserFault if that is because another version of the program wrote it
 */
function checkVersion(why: string, uri: string): void {
  if (!why.includes(`this version reads ${MANIFEST_FORMAT}`)) return;
  throw new UserFault(
    `${uri} has entries of another version of dosimeter: ${why}`,
    'sweep it with that version, which can tell what its entries need',
  );
}

interface Choice {
  /** The manifests to remove. They go first, because they name other objects. */
  readonly manifests: readonly Listed[];
  readonly others: readonly Listed[];
  readonly swept: RemoteSwept;
}

/** Chooses what to remove. @param before objects written at this time (ms) or later stay */
function chooseRemovals(
  { blobs, environments, runs, entries, damaged }: Found,
  maxBytes: number | null,
  before: number,
): Choice {
  /** Whether an object was written before the grace period, so that it may be removed. */
  const isOld = ({ modified }: Listed): boolean => modified < before;
  const sizes = new Map(blobs.map(({ name, size }) => [name, size]));
  const references = countReferences(entries);
  let bytesLeft = [...references.keys()].reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0);
  const swept: SentEntry[] = [];
  for (const entry of [...entries].sort((a, b) => a.object.modified - b.object.modified)) {
    if (maxBytes === null || bytesLeft <= maxBytes) break;
    if (!isOld(entry.object)) continue;
    swept.push(entry);
    for (const name of neededObjects(entry.manifest)) {
      const left = (references.get(name) ?? 1) - 1;
      references.set(name, left);
      if (left > 0) continue;
      references.delete(name);
      bytesLeft -= sizes.get(name) ?? 0;
    }
  }
  const gone = new Set(swept.map(({ key }) => key));
  const kept = new Set(entries.map(({ key }) => key).filter((key) => !gone.has(key)));
  const unneeded = [
    ...[...blobs, ...environments].filter(({ name }) => !references.has(name)),
    ...runs.filter(({ keys }) => !keys.some((key) => kept.has(key))).map(({ object }) => object),
  ];
  const manifests = [...swept.map(({ object }) => object), ...damaged.filter(isOld)];
  const others = unneeded.filter(isOld);
  return {
    manifests,
    others,
    swept: {
      entries: swept.map(({ key }) => key),
      damaged: manifests.length - swept.length,
      objects: others.length,
      bytes: [...manifests, ...others].reduce((sum, { size }) => sum + size, 0),
      young: unneeded.length - others.length,
      kept: { entries: kept.size, bytes: bytesLeft },
    },
  };
}

/** Returns the names of the objects that hold an entry's files and environment. */
function neededObjects(manifest: Manifest): ReadonlySet<string> {
  const environment = environmentName(manifest.facts['environment']);
  return new Set([
    ...keptFiles(manifest).map(({ sha256 }) => blobObject(sha256)),
    ...(environment === null ? [] : [environmentObject(environment)]),
  ]);
}

/** Returns how many entries need each object, by the object's name. */
function countReferences(entries: readonly SentEntry[]): Map<string, number> {
  const references = new Map<string, number>();
  for (const { manifest } of entries)
    for (const name of neededObjects(manifest))
      references.set(name, (references.get(name) ?? 0) + 1);
  return references;
}

/** Removes what was chosen. @throws UserFault if the marker no longer stands */
async function removeAll(objects: Objects, marker: Marker, choice: Choice): Promise<void> {
  for (const list of [choice.manifests, choice.others]) {
    const queue = new PQueue({ concurrency: TRANSFERS });
    await queue.addAll(
      list.map(({ name }) => async () => {
        if (!marker.stands())
          throw new UserFault(
            `this sweep of ${objects.uri} was stopped for so long that a push may have begun`,
            'run it again',
          );
        await objects.remove(name);
      }),
    );
  }
}

/** Returns the ms of a time such as `12h` or `7d`. @throws UserFault for any other text */
export function parseGrace(text: string): number {
  const [, number, unit] = /^(\d{1,4})(m|h|d)$/.exec(text.trim()) ?? [];
  if (number === undefined)
    throw new UserFault(`--grace takes a time such as 12h or 7d, got "${text}"`);
  const minutes = unit === 'd' ? 1440 : unit === 'h' ? 60 : 1;
  return Number(number) * minutes * 60_000;
}

/** A marker is renewed every RENEW_MS. It no longer counts once it was not renewed for STALE_MS. */
const RENEW_MS = 60_000,
  STALE_MS = 15 * 60_000;
const POLL_MS = 2_000;

type Kind = 'gc' | 'push';

export interface Marker {
  /** The remote's clock, in ms since 1970, at the last look at others' markers. */
  readonly now: number;
  /** Whether the marker was always renewed in time, so that others have kept away. */
  stands(): boolean;
  end(): Promise<void>;
}

/** Writes a marker, and renews it until its `end` is called. */
async function placeMarker(objects: Objects, kind: Kind) {
  const name = `v1/signs/${kind}-${randomUUID()}`;
  let renewed = performance.now(),
    wasLate = false;
  const noteLateness = (): void => {
    wasLate ||= performance.now() - renewed > STALE_MS / 2;
  };
  const writeMarker = async (): Promise<void> => {
    const at = performance.now();
    await sendText(objects, name, `${kind}\n`);
    noteLateness(); // before `renewed` hides that this renewal is late
    renewed = at;
  };
  await writeMarker();
  // A renewal that fails is tried again; `stands` tells if none succeeds.
  const timer = setInterval(() => void writeMarker().catch(() => undefined), RENEW_MS);
  timer.unref();
  return {
    name,
    stands(): boolean {
      noteLateness();
      return !wasLate;
    },
    async end(): Promise<void> {
      clearInterval(timer);
      await objects.remove(name);
    },
  };
}

/**
 * Returns the names of others' markers that count, and the remote's clock.
 * @param own the name of this process's marker
 * @throws UserFault if the listing does not show it
 */
async function otherMarkers(
  objects: Objects,
  own: string,
): Promise<{ readonly others: readonly string[]; readonly now: number }> {
  const markers = await listAll(objects, 'signs');
  const now = markers.find(({ name }) => name === own)?.modified;
  if (now === undefined)
    throw new UserFault(
      `${objects.uri}: an object that was just written does not show in its listing`,
      'try again; on a network file system, mount it with a shorter time for its caches',
    );
  const others = markers.filter(({ name, modified }) => name !== own && now - modified < STALE_MS);
  return { others: others.map(({ name }) => name), now };
}

const isSweepMarker = (name: string): boolean => name.startsWith('v1/signs/gc-');

/** Marks the remote as being swept. @throws UserFault while another process uses it */
export async function beginSweep(objects: Objects): Promise<Marker> {
  const marker = await placeMarker(objects, 'gc');
  try {
    const { others, now } = await otherMarkers(objects, marker.name);
    const gc = others.some(isSweepMarker);
    if (others.length > 0)
      throw new UserFault(
        `${gc ? 'another gc sweeps' : 'a push sends to'} ${objects.uri}`,
        'wait for it to end; one that was killed counts for 15 minutes',
      );
    return { ...marker, now };
  } catch (error) {
    await marker.end();
    throw error;
  }
}

/** Marks the remote as being pushed to. If it is being swept, calls `tell` once and waits. */
export async function beginPush(
  objects: Objects,
  tell: (message: string) => void,
): Promise<Marker> {
  const marker = await placeMarker(objects, 'push');
  try {
    for (let told = false; ; told = true) {
      const { others, now } = await otherMarkers(objects, marker.name);
      if (!others.some(isSweepMarker)) return { ...marker, now };
      if (!told) tell(`gc is sweeping ${objects.uri}; waiting`);
      await sleep(POLL_MS);
    }
  } catch (error) {
    await marker.end();
    throw error;
  }
}
