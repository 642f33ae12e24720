/** The store: look-up, publication and repair of entries under one folder. */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { contentDigest } from '../plan/keys.ts';
import type { ActionKey } from '../plan/types.ts';
import { diskFault, onDisk } from './faults.ts';
import { fileFault, sha256Sync } from './files.ts';
import { makeFolder } from './folders.ts';
import type { LeaseAttempt, Leases } from './lease.ts';
import { openLeases } from './lease.ts';
import { MANIFEST_FILE, MANIFEST_FORMAT, parseManifest, printManifest } from './manifest.ts';
import { openManifestIndex } from './manifest-index.ts';
import type { Owner } from './owner.ts';
import { newOwner, ownerName } from './owner.ts';
import { isUnreadable, readRegularText } from './regular.ts';
import { readdirOr, sweepGone, sweepOwn } from './sweep.ts';
import type { GroupCommit } from './sync.ts';
import { createGroupCommit } from './sync.ts';
import type { Entry, Manifest, ManifestHead } from './types.ts';

export type LookUp =
  | { readonly state: 'hit'; readonly entry: Entry }
  | { readonly state: 'absent' }
  | { readonly state: 'damaged'; readonly why: string };

export interface Publication extends Omit<Manifest, 'format' | 'content' | 'created'> {
  readonly volatile: readonly string[];
}

export interface Store {
  readonly root: string;
  entryDir(key: ActionKey): string;
  /** Manifest and sizes; a file younger than its manifest was touched by hand and is hashed. Never writes. */
  lookUp(key: ActionKey): LookUp;
  /** As `lookUp`, for a key that is likely new: one call to the system then, not two. */
  lookUpNew(key: ActionKey): LookUp;
  /** The whole of it; null: there is none that is whole. */
  manifest(key: ActionKey): Manifest | null;
  /** Every file's digest; null when all are right. */
  check(entry: Entry): Promise<string | null>;
  /** An empty folder on the store's file system. */
  scratch(name: string): string;
  /**
   * Where an unfinished stage keeps what it goes on from after a kill; made by whoever writes there, removed once the entry is
   * there. `reads`: digest of what the stage reads as it lies on the disk, so that nothing goes on from what was read of a file
   * that has been written to since.
   */
  resumeDir(key: ActionKey, reads?: string): string;
  /** Turns a scratch folder into an entry, whole or not at all. When another process was faster, its entry stands. */
  publish(scratch: string, publication: Publication): Promise<Entry>;
  /** Takes a damaged entry out of the way; returns where it went. */
  moveAside(key: ActionKey): string;
  take(key: ActionKey): LeaseAttempt;
  /** Keys of every folder that stands where an entry would. */
  keys(): ActionKey[];
  /** What was published is durable. */
  flush(): Promise<void>;
  /** The next store that is opened for this spec need not read the manifests that this one has read. */
  saveIndex(): void;
  /** Sweeps what processes that are gone have left; a run that makes nothing does it too. */
  tidy(): void;
  close(): void;
}

export interface StoreOptions {
  readonly onTakeover?: (key: ActionKey, owner: Owner) => void;
  /** Path of the spec whose entries will be looked up; left out: every manifest is read. */
  readonly spec?: string;
}

/** A time stamp this much older than now is safely older on any file system. */
const SETTLED_MS = 2000;

const KEY = /^[0-9a-f]{64}$/;

/** Nothing is created before something must be written: a read-only store serves hits. */
export function openStore(root: string, options: StoreOptions = {}): Store {
  const me = newOwner();
  let ready = false;
  let leases: Leases | null = null;
  let commit: GroupCommit | null = null;
  const dirOf = (part: 'tmp' | 'leases' | 'damaged'): string => path.join(root, part);
  const index = options.spec === undefined ? null : openManifestIndex(root, options.spec);
  const entryDir = (key: ActionKey): string => `${root}/${key.slice(0, 2)}/${key}`;
  const resumes = path.join(root, 'resume');
  const resumeDir = (key: ActionKey, reads = ''): string =>
    path.join(resumes, reads === '' ? key : `${key}-${reads.slice(0, 16)}`);
  const sweepResumes = (key: ActionKey): void => {
    if (!existsSync(resumes)) return;
    for (const name of readdirOr(resumes))
      if (name.startsWith(key)) rmSync(path.join(resumes, name), { recursive: true, force: true });
  };

  const prepare = (): void => {
    if (ready) return;
    try {
      for (const part of ['tmp', 'leases'] as const) makeFolder(dirOf(part));
      sweepGone(root, options.onTakeover);
    } catch (error) {
      throw diskFault(error, root);
    }
    leases = openLeases(dirOf('leases'), me, options.onTakeover);
    commit = createGroupCommit(root);
    ready = true;
  };

  const lookUp = (key: ActionKey): LookUp => {
    const dir = entryDir(key),
      file = `${dir}/${MANIFEST_FILE}`;
    let head: ManifestHead, written: number;
    try {
      const stat = lstatSync(file, { throwIfNoEntry: false });
      if (!stat)
        return lstatSync(dir, { throwIfNoEntry: false })
          ? { state: 'damaged', why: 'it has no manifest' }
          : { state: 'absent' };
      written = stat.mtimeMs;
      const vouching = stat.isFile() ? index : null; // a link's times tell nothing of the manifest that it leads to
      const known = vouching?.get(key, stat);
      if (known) head = known;
      else {
        const parsed = parseManifest(readRegularText(file), key);
        if ('fault' in parsed) return { state: 'damaged', why: parsed.fault };
        head = parsed.manifest;
        vouching?.note(key, stat, head);
      }
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'ENOENT') return { state: 'absent' }; // taken away between the two
      // Too many open files, say, is no fault of the entry's.
      if (code !== 'ENOTDIR' && !isUnreadable(error)) throw diskFault(error, dir);
      return { state: 'damaged', why: `its manifest can't be read (${String(code)})` };
    }
    let youngest = written;
    for (const { path: name, size } of head.files) {
      const stat = lstatSync(`${dir}/${name}`, { throwIfNoEntry: false });
      if (!stat?.isFile()) return { state: 'damaged', why: `${name} is missing` };
      if (stat.size !== size)
        return { state: 'damaged', why: `${name} has ${stat.size} bytes, not ${size}` };
      youngest = Math.max(youngest, stat.mtimeMs);
    }
    const entry: Entry = { key, dir, manifest: head };
    // The manifest is written last, so a younger file was written by someone else.
    return youngest > written && !unchanged(entry, youngest)
      ? { state: 'damaged', why: 'a file was changed after it was stored' }
      : { state: 'hit', entry };
  };

  return {
    root,
    entryDir,
    lookUp,
    resumeDir,
    lookUpNew: (key) => (mayBeThere(entryDir(key)) ? lookUp(key) : { state: 'absent' }),
    manifest(key) {
      try {
        const parsed = parseManifest(readRegularText(`${entryDir(key)}/${MANIFEST_FILE}`), key);
        return 'fault' in parsed ? null : parsed.manifest;
      } catch (error) {
        if (
          ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '') ||
          isUnreadable(error)
        )
          return null;
        throw diskFault(error, root);
      }
    },
    async check({ dir, manifest }) {
      for (const file of manifest.files) {
        const fault = await fileFault(dir, file);
        if (fault !== null) return fault;
      }
      return null;
    },
    scratch(name) {
      prepare();
      const dir = path.join(dirOf('tmp'), `${ownerName(me)}.${name}`);
      try {
        try {
          mkdirSync(dir);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
          rmSync(dir, { recursive: true, force: true }); // left by a try that failed
          mkdirSync(dir);
        }
      } catch (error) {
        throw diskFault(error, root);
      }
      return dir;
    },
    publish: (scratch, { volatile, ...publication }) =>
      onDisk(root, () => {
        prepare();
        if (publication.files.some((file) => file.path === MANIFEST_FILE))
          throw new UserFault(
            `the stage wrote ${MANIFEST_FILE}, a name that is the store's own`,
            'write that file under another name',
          );
        const manifest: Manifest = {
          format: MANIFEST_FORMAT,
          ...publication,
          content: contentDigest(publication.files, volatile),
          created: new Date().toISOString(),
        };
        const dir = entryDir(publication.key);
        writeFileSync(path.join(scratch, MANIFEST_FILE), printManifest(manifest));
        // Whatever is added to the folder from now on shows in its time (strayFile).
        utimesSync(scratch, new Date(), new Date(Date.now() - SETTLED_MS));
        try {
          into(scratch, dir);
        } catch (error) {
          const code = (error as NodeJS.ErrnoException).code;
          if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
          const there = lookUp(publication.key);
          if (there.state === 'hit') {
            rmSync(scratch, { recursive: true, force: true });
            sweepResumes(publication.key);
            return there.entry;
          }
          aside(publication.key);
          into(scratch, dir);
        }
        commit!.add(dir);
        sweepResumes(publication.key);
        return { key: publication.key, dir, manifest };
      }),
    moveAside: (key) => {
      prepare();
      return aside(key);
    },
    take(key) {
      prepare();
      try {
        return leases!.take(key);
      } catch (error) {
        throw diskFault(error, root);
      }
    },
    keys() {
      const keys: ActionKey[] = [];
      for (const shard of readdirOr(root))
        if (/^[0-9a-f]{2}$/.test(shard))
          for (const name of readdirOr(path.join(root, shard)))
            if (KEY.test(name)) keys.push(name as ActionKey);
      return keys;
    },
    flush: async () => {
      await commit?.flush();
    },
    saveIndex() {
      index?.save();
    },
    tidy() {
      if (!ready && existsSync(dirOf('leases'))) sweepGone(root, options.onTakeover);
    },
    close() {
      leases?.close();
      if (ready) sweepOwn(root, me);
    },
  };

  /** Renames; the folder above is there for most keys. */
  function into(scratch: string, dir: string): void {
    try {
      renameSync(scratch, dir);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      makeFolder(path.dirname(dir));
      renameSync(scratch, dir);
    }
  }

  function aside(key: ActionKey): string {
    const to = path.join(dirOf('damaged'), `${key}.${Date.now()}-${process.pid}`);
    try {
      makeFolder(dirOf('damaged'));
      renameSync(entryDir(key), to);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw diskFault(error, root); // another process was faster
    }
    return to;
  }
}

function mayBeThere(dir: string): boolean {
  try {
    return lstatSync(dir, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return true; // the look-up tells what is wrong
  }
}

/** Hashes an entry whose files are younger than its manifest; when all are right (copied, touched), remembers by the manifest's time. */
function unchanged({ dir, manifest }: Entry, youngest: number): boolean {
  const right = manifest.files.every((file) => {
    try {
      return sha256Sync(path.join(dir, file.path)) === file.sha256;
    } catch (error) {
      if (isUnreadable(error)) return false;
      throw error;
    }
  });
  if (right) {
    try {
      utimesSync(path.join(dir, MANIFEST_FILE), new Date(), new Date(Math.ceil(youngest) + 1));
    } catch (error) {
      if (!['EACCES', 'EPERM', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? ''))
        throw error;
    }
  }
  return right;
}
