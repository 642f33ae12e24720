/** A remote that is a folder, such as one on a network file system or a portable disk. */
import { randomUUID } from 'node:crypto';
import {
  createReadStream,
  type Dirent,
  fstatSync,
  lstatSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { isMissing } from '../../base/system-error.ts';
import { ownFolder, ownNames, pathInside } from '../../base/untrusted/paths.ts';
import { makeFolder } from '../folders.ts';
import { openRegular } from '../regular.ts';
import { type Listed, type Objects, RemoteFault } from './objects.ts';

/** The age (ms) at which drafts that a killed sender left are removed. */
const ABANDONED_MS = 7 * 24 * 3600 * 1000;

/**
 * Returns the objects of a remote that is the folder `root`. `ownFolder` throws in these functions
 * if a folder below `root` is a link.
 * @param uri names the remote in messages
 */
export function folderObjects(root: string, uri: string): Objects {
  const fileOf = (name: string): string => pathInside(root, name, 'an object');
  const fault = (error: unknown, name = ''): unknown => {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === undefined
      ? error
      : new RemoteFault(`${uri}: ${message}`, `look at ${name === '' ? root : fileOf(name)}`);
  };
  /** Returns what `work` returns; null if there is no object `name`. Throws `RemoteFault`. */
  const nullIfMissing = async <T>(name: string, work: () => T): Promise<T | null> => {
    try {
      return await Promise.resolve(work());
    } catch (error) {
      if (isMissing(error)) return null;
      throw fault(error, name);
    }
  };
  const drafts = path.join(root, 'v1', 'tmp');

  return {
    uri,
    async open(writing) {
      const isThere = await nullIfMissing('', () => {
        if (writing) {
          const names = ownNames(root, 'v1', 'tmp');
          ownFolder(root, 'v1', 'signs');
          makeFolder(drafts);
          sweepDrafts(drafts, names);
        }
        return statSync(path.join(root, 'v1')).isDirectory();
      });
      if (isThere !== true)
        throw new RemoteFault(
          `${uri} is not a remote: there is no folder ${path.join(root, 'v1')}`,
          'check its name; dosimeter push makes a new remote',
        );
    },
    sizeOf: (name) =>
      nullIfMissing(name, () => {
        const stat = lstatSync(fileOf(name));
        return stat.isFile() ? stat.size : null;
      }),
    read: (name, from) =>
      nullIfMissing(name, () => {
        const handle = openRegular(fileOf(name));
        const { size } = fstatSync(handle);
        const stream = createReadStream('', { fd: handle, start: from, highWaterMark: 1 << 20 });
        return {
          size,
          bytes: withRemoteFaults(stream, (error) => fault(error, name)),
          close: () => void stream.destroy(),
        };
      }),
    async write(name, _size, bytes) {
      const draft = path.join(drafts, randomUUID()),
        file = fileOf(name);
      try {
        const handle = await open(draft, 'wx');
        try {
          for await (const chunk of bytes) await handle.writeFile(chunk);
        } finally {
          await handle.close();
        }
        makeFolder(path.dirname(file));
        renameSync(draft, file);
      } catch (error) {
        rmSync(draft, { force: true });
        throw fault(error, name);
      }
    },
    async *list(folder) {
      const at = ownFolder(root, 'v1', folder);
      if (at === null) return;
      const found = await nullIfMissing(`v1/${folder}`, () =>
        readdirSync(at, { recursive: true, withFileTypes: true }),
      );
      yield* listedFiles(root, found ?? []);
    },
    async remove(name) {
      const file = fileOf(name);
      await nullIfMissing(name, () => {
        ownFolder(root, ...name.split('/').slice(0, -1));
        unlinkSync(file);
      });
    },
  };
}

/** Yields what the stream yields. Throws its error as `fault` returns it. */
async function* withRemoteFaults(
  stream: AsyncIterable<unknown>,
  fault: (error: unknown) => unknown,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of stream) yield chunk as Uint8Array;
  } catch (error) {
    throw fault(error);
  }
}

/**
 * Yields the files among the entries of a listing, as objects. Passes over those that are gone by
 * now.
 */
function* listedFiles(root: string, found: readonly Dirent[]): Generator<Listed> {
  for (const file of found) {
    if (!file.isFile()) continue;
    const full = path.join(file.parentPath, file.name);
    const stat = lstatSync(full, { throwIfNoEntry: false });
    const name = path.relative(root, full).split(path.sep).join('/');
    if (stat) yield { name, size: stat.size, modified: stat.mtimeMs };
  }
}

/** Removes those of the named drafts that were not written to for ABANDONED_MS. */
function sweepDrafts(drafts: string, names: readonly string[]): void {
  for (const name of names) {
    const file = path.join(drafts, name),
      stat = lstatSync(file, { throwIfNoEntry: false });
    if (stat && Date.now() - stat.mtimeMs > ABANDONED_MS) rmSync(file, { force: true });
  }
}
