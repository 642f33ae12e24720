/** The store: looks up, publishes and repairs entries under one folder. */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { hasCode, isMissing } from '../base/system-error.ts';
import { hasLink, nameFault, ownFolder, ownNames } from '../base/untrusted/paths.ts';
import { contentDigest } from '../plan/keys.ts';
import type { ActionKey } from '../plan/types.ts';
import { ANSWERS } from './answers.ts';
import { diskFault, onDisk, onDiskNow } from './faults.ts';
import { fileFault, SETTLED_MS } from './files.ts';
import { makeFolder } from './folders.ts';
import { type LeaseAttempt, type LeaseOptions, Leases } from './lease.ts';
import { lookUntilVisible, type LookUp, lookUpEntry, PAUSES, refreshEntry } from './look-up.ts';
import {
  bytesOf,
  type Entry,
  keptFiles,
  type Manifest,
  MANIFEST_FILE,
  MANIFEST_FORMAT,
  type ManifestHead,
  parseManifest,
  printManifest,
} from './manifest.ts';
import { type ManifestIndex, openManifestIndex } from './manifest-index.ts';
import { newOwner, type Owner, ownerName } from './owner.ts';
import { isUnreadable, readRegularText, withheldFault } from './regular.ts';
import { readdirOr, sweepGone, sweepOwn } from './sweep.ts';
import { createGroupCommit, type GroupCommit } from './sync.ts';

export type { LookUp } from './look-up.ts';

export interface Publication extends Omit<Manifest, 'format' | 'content' | 'created'> {
  /** The paths of files that may differ if the stage is computed again; not part of `content`. */
  readonly volatile: readonly string[];
}

export interface StoreOptions {
  /** Called when the claim of a dead process is removed. */
  readonly onTakeover?: (key: ActionKey, owner: Owner) => void;
  /** For tests, which replace clocks and periods. */
  readonly leases?: Omit<LeaseOptions, 'onTakeover'>;
  /** The spec whose entries will be looked up. Without it, every manifest is read. */
  readonly spec?: string;
}

const KEY = /^[0-9a-f]{64}$/;

/** Opens a store. Creates nothing before the first write, so a read-only store can serve hits. */
export const openStore = (root: string, options: StoreOptions = {}): Store =>
  new Store(root, options);

/** What writing needs. It is opened at the first write. */
interface Writing {
  /** This store's owner of leases and scratch folders. */
  readonly owner: Owner;
  readonly leases: Leases;
  readonly commit: GroupCommit;
}

export class Store {
  readonly #index: ManifestIndex | null;
  #writing: Writing | null = null;

  constructor(
    readonly root: string,
    readonly options: StoreOptions,
  ) {
    const { spec } = options;
    this.#index = spec === undefined ? null : openManifestIndex(root, spec);
  }

  /** Returns an entry's folder, which need not exist. */
  entryDir(key: ActionKey): string {
    return `${this.root}/${key.slice(0, 2)}/${key}`;
  }

  /**
   * Looks an entry up by its manifest and the sizes of its files; see `lookUpEntry`. Writes nothing
   * but a manifest's time.
   */
  lookUp(key: ActionKey): LookUp {
    return lookUpEntry(this.entryDir(key), key, this.#index);
  }

  /**
   * Like `lookUp`, for an entry that another host may have made a moment ago. If the entry is
   * absent, asks the file system anew, and looks again for about 3 s (PAUSES) if a listing has its
   * name, or if hosts share the store and the entry is `expected`. If the entry looks damaged,
   * looks again for 3 s, but only if hosts share the store.
   * @param expected whether another host is known to have made the entry
   */
  async lookUpShared(key: ActionKey, expected: boolean): Promise<LookUp> {
    const first = this.lookUp(key);
    if (first.state === 'hit') return first;
    const isDamaged = first.state === 'damaged',
      isShared = this.#writing?.leases.isShared === true;
    if (isDamaged && !isShared) return first;
    const dir = this.entryDir(key);
    return lookUntilVisible(
      () => this.lookUp(key),
      () => refreshEntry(dir),
      isShared && (expected || isDamaged) ? PAUSES : [],
    );
  }

  /** Reads an entry's manifest. Returns null if there is none or it is damaged. */
  manifest(key: ActionKey): Manifest | null {
    try {
      const parsed = parseManifest(readRegularText(`${this.entryDir(key)}/${MANIFEST_FILE}`), key);
      return 'fault' in parsed ? null : parsed.manifest;
    } catch (error) {
      if (isMissing(error) || isUnreadable(error)) return null;
      throw diskFault(error, this.root);
    }
  }

  /** Checks the digests of an entry's files. Returns what is wrong; null if nothing is. */
  async check({ dir, manifest }: Entry): Promise<string | null> {
    for (const file of keptFiles(manifest)) {
      const fault = await fileFault(dir, file);
      if (fault !== null) return fault;
    }
    return null;
  }

  /** Makes an empty scratch folder in the store, which `close` removes. */
  scratch(name: string): string {
    const dir = `${this.root}/tmp/${ownerName(this.#prepare().owner)}.${name}`;
    return onDiskNow(this.root, () => {
      if (existsSync(dir)) rmSync(dir, { recursive: true, force: true }); // of a failed attempt
      mkdirSync(dir);
      return dir;
    });
  }

  /**
   * Returns the folder for the state from which an unfinished stage goes on after a kill. The first
   * writer makes it; publishing the entry removes it. A folder that contains a link is removed at
   * once, because a stage that removes saved files might remove others, behind the link.
   * @param reads the digest of the stage's inputs on the disk, a part of the folder's name: after a
   *   write to an input, a stage does not go on from what it read before
   */
  resumeDir(key: ActionKey, reads = ''): string {
    const dir = `${this.root}/resume/${reads === '' ? key : `${key}-${reads.slice(0, 16)}`}`;
    onDiskNow(this.root, () => {
      if (hasLink(dir)) rmSync(dir, { recursive: true, force: true });
    });
    return dir;
  }

  get answersDir(): string {
    return path.join(this.root, ANSWERS);
  }

  /**
   * Turns a scratch folder into an entry, whole or not at all. Returns the entry; if another
   * process has published it first, the entry of that process.
   */
  publish(scratch: string, { volatile, ...publication }: Publication): Promise<Entry> {
    return onDisk(this.root, () => {
      const { files } = publication;
      if (files.some((file) => file.path === MANIFEST_FILE))
        throw new UserFault(
          `the stage wrote ${MANIFEST_FILE}, a name that the store reserves`,
          'write that file under another name',
        );
      const manifest: Manifest = {
        format: MANIFEST_FORMAT,
        ...publication,
        content: contentDigest(files, volatile),
        created: new Date().toISOString(),
      };
      return this.#publish(scratch, manifest, printManifest(manifest));
    });
  }

  /** Like `publish`, for an entry from elsewhere, whose manifest's text is kept. */
  adopt(scratch: string, manifest: Manifest, text: string): Promise<Entry> {
    return onDisk(this.root, () => this.#publish(scratch, manifest, text));
  }

  /**
   * Removes the files of an entry whose paths `isLetGo` chooses. The manifest, which keeps their
   * sizes and digests, is replaced first, so that a kill leaves a valid entry. The caller keeps
   * other runs from reading the entry.
   * @returns the entry and the bytes that were freed; null if no file was removed
   */
  letGo(
    key: ActionKey,
    isLetGo: (path: string) => boolean,
  ): { readonly entry: Entry; readonly bytes: number } | null {
    const manifest = this.manifest(key);
    if (manifest === null) return null;
    const going = keptFiles(manifest).filter(
      ({ path }) => isLetGo(path) && nameFault(path) === null,
    );
    if (going.length === 0) return null;
    const dir = this.entryDir(key);
    const letGo = [...(manifest.letGo ?? []), ...going.map(({ path }) => path)].sort();
    const trimmed: Manifest = { ...manifest, letGo };
    onDiskNow(this.root, () => {
      const { mtime } = lstatSync(`${dir}/${MANIFEST_FILE}`);
      this.#replaceManifest(trimmed, mtime);
      sweepLetGo(dir, trimmed);
    });
    return { entry: { key, dir, manifest: trimmed }, bytes: bytesOf(going) };
  }

  /**
   * Puts back the files of an entry that were let go, from a scratch folder in which the stage was
   * computed again. If a file that is not volatile differs from the manifest's, changes nothing and
   * returns the path of the first such file as `differs`.
   * @param files the files in the scratch folder
   */
  async restore(
    scratch: string,
    key: ActionKey,
    { files, volatile }: Pick<Publication, 'files' | 'volatile'>,
  ): Promise<{ readonly entry: Entry } | { readonly differs: string }> {
    return onDisk(this.root, () => {
      const manifest = this.manifest(key),
        dir = this.entryDir(key);
      if (manifest === null) throw new Error(`${key} is restored, but it is gone`);
      const made = new Map(files.map(({ path, sha256 }) => [path, sha256]));
      const differs = manifest.files.find(
        ({ path, sha256 }) => !volatile.includes(path) && made.get(path) !== sha256,
      );
      if (differs !== undefined) return { differs: differs.path };
      // Only paths of the manifest's `files` are moved, whatever `letGo` names.
      for (const { path: name } of manifest.files)
        if (manifest.letGo?.includes(name)) moveInto(`${scratch}/${name}`, `${dir}/${name}`);
      const { letGo: _letGo, ...whole } = manifest;
      this.#replaceManifest(whole, new Date());
      rmSync(scratch, { recursive: true, force: true });
      this.#sweepResumes(key);
      this.#prepare().commit.add(dir);
      return { entry: { key, dir, manifest: whole } };
    });
  }

  /** Moves a damaged entry away. Returns its new path; nothing is there if the entry was gone. */
  moveAside(key: ActionKey): string {
    this.#prepare();
    const damaged = path.join(this.root, 'damaged');
    const to = path.join(damaged, `${key}.${Date.now()}-${process.pid}`);
    try {
      ownFolder(this.root, key.slice(0, 2));
      makeFolder(damaged);
      renameSync(this.entryDir(key), to);
    } catch (error) {
      // ENOENT: another process was faster.
      if (!hasCode(error, 'ENOENT')) throw diskFault(error, this.root);
    }
    return to;
  }

  take(key: ActionKey): LeaseAttempt {
    const { leases } = this.#prepare();
    return onDiskNow(this.root, () => leases.take(key));
  }

  /**
   * Returns the keys of all entries, whole or damaged.
   * @param withheld called with the fault of each folder that another user lets no one else read;
   *   by default it is thrown
   */
  keys(
    withheld = (fault: UserFault): void => {
      throw fault;
    },
  ): ActionKey[] {
    /** Returns the names in a shard; [] if another user withholds it, which `withheld` is told. */
    const namesIn = (shard: string): string[] => {
      const fault = withheldFault(path.join(this.root, shard), this.root);
      if (fault === null) return ownNames(this.root, shard);
      withheld(fault);
      return [];
    };
    return readdirOr(this.root)
      .filter((shard) => /^[0-9a-f]{2}$/.test(shard))
      .flatMap(namesIn)
      .filter((name) => KEY.test(name)) as ActionKey[];
  }

  /** Resolves when everything published is durable. */
  async flush(): Promise<void> {
    await this.#writing?.commit.flush();
  }

  /** Writes the index, so that the next store opened for this spec need not read the manifests. */
  saveIndex(): void {
    this.#index?.save();
  }

  /** Sweeps what dead processes left, unless a write of this store has done so already. */
  tidy(): void {
    if (this.#writing === null && existsSync(path.join(this.root, 'leases')))
      sweepGone(this.root, this.options.onTakeover);
  }

  /** Gives up the leases, and removes this store's scratch folders. */
  close(): void {
    if (this.#writing === null) return;
    this.#writing.leases.close();
    sweepOwn(this.root, this.#writing.owner);
  }

  /**
   * At the first call, makes the folders that writing needs, sweeps what dead processes left, and
   * opens the leases. Later calls return the same.
   */
  #prepare(): Writing {
    if (this.#writing !== null) return this.#writing;
    const leases = path.join(this.root, 'leases'),
      { onTakeover } = this.options;
    onDiskNow(this.root, () => {
      for (const part of ['tmp', 'leases', 'resume', 'damaged']) ownFolder(this.root, part);
      makeFolder(path.join(this.root, 'tmp'));
      makeFolder(leases);
      sweepGone(this.root, onTakeover);
    });
    const owner = newOwner();
    this.#writing = {
      owner,
      leases: new Leases(leases, owner, { ...this.options.leases, onTakeover }),
      commit: createGroupCommit(this.root),
    };
    return this.#writing;
  }

  /**
   * Replaces the manifest of an entry as a whole.
   * @param mtime the new file's time, which look-ups compare with those of the entry's files
   */
  #replaceManifest(manifest: Manifest, mtime: Date): void {
    const draft = `${this.scratch(`manifest-${manifest.key.slice(0, 16)}`)}/${MANIFEST_FILE}`;
    writeFileSync(draft, printManifest(manifest), { flush: true });
    utimesSync(draft, new Date(), mtime);
    renameSync(draft, `${this.entryDir(manifest.key)}/${MANIFEST_FILE}`);
    rmSync(path.dirname(draft), { recursive: true, force: true });
  }

  /**
   * Writes the manifest into a scratch folder and renames the folder into place. Returns the entry,
   * as `publish` does.
   * @param text the text of the manifest
   */
  async #publish(scratch: string, manifest: Manifest, text: string): Promise<Entry> {
    const { commit } = this.#prepare(),
      { key } = manifest;
    writeFileSync(`${scratch}/${MANIFEST_FILE}`, text);
    // From now on, anything added to the folder changes the folder's time (see strayFile).
    const made = Math.max(0, Date.parse(manifest.created) - SETTLED_MS);
    utimesSync(scratch, new Date(), new Date(made));
    const faster = await this.#place(scratch, key);
    this.#sweepResumes(key);
    if (faster) return faster;
    const dir = this.entryDir(key);
    commit.add(dir);
    return { key, dir, manifest };
  }

  /** Renames a folder into place. Returns a faster process's entry; null if there is none. */
  async #place(scratch: string, key: ActionKey): Promise<Entry | null> {
    const dir = this.entryDir(key);
    try {
      moveInto(scratch, dir);
    } catch (error) {
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST')) throw error;
      const there = await this.lookUpShared(key, true);
      if (there.state === 'hit') {
        rmSync(scratch, { recursive: true, force: true });
        return there.entry;
      }
      this.moveAside(key);
      moveInto(scratch, dir);
    }
    return null;
  }

  #sweepResumes(key: ActionKey): void {
    for (const name of ownNames(this.root, 'resume'))
      if (name.startsWith(key))
        rmSync(path.join(this.root, 'resume', name), { recursive: true, force: true });
  }
}

/**
 * Removes the files of an entry that its manifest lists as let go but that are still there, as
 * after a kill. Returns their bytes. A manifest from elsewhere may name files outside the entry;
 * these stay. Throws UserFault where a link leads out of the entry.
 */
export function sweepLetGo(dir: string, { files, letGo = [] }: ManifestHead): number {
  let bytes = 0;
  for (const { path: name, size } of files) {
    if (!letGo.includes(name) || nameFault(name) !== null) continue;
    if (ownFolder(dir, ...name.split('/').slice(0, -1)) === null) continue;
    if (lstatSync(`${dir}/${name}`, { throwIfNoEntry: false })?.isFile() !== true) continue;
    unlinkSync(`${dir}/${name}`);
    bytes += size;
  }
  return bytes;
}

/** Renames a file or folder. Makes the folder above the new path only if need be, to save time. */
function moveInto(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
    makeFolder(path.dirname(to));
    renameSync(from, to);
  }
}
