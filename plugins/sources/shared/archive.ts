/**
 * Unpacks archives from outside. Only files and folders are unpacked, never outside the given
 * folder, and no more bytes than are announced or allowed.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import stream from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { UserFault } from '../../../src/api.ts';
import { inWords, readLimit, unpackedLimit } from '../../../src/base/untrusted/limits.ts';
import { pathInside } from '../../../src/base/untrusted/paths.ts';

type Env = Readonly<Record<string, string | undefined>>;
/**
 * Returns a function that is called for each entry, with the entry's bytes. It throws `UserFault`
 * once there are more entries than allowed, or more bytes than an archive of this size may unpack
 * to.
 */
async function createCounter(
  archive: string,
  env: Env | undefined,
): Promise<(entryBytes: number) => void> {
  const { size } = await stat(archive);
  const most = unpackedLimit(size, env),
    files = readLimit('files', env);
  let bytes = 0,
    entries = 0;
  return (entryBytes) => {
    bytes += entryBytes;
    entries++;
    if (bytes > most.value)
      throw new UserFault(
        `The archive ${nameOf(archive)} (${inWords(size)}) unpacks to more than ` +
          `${inWords(most.value)}; it was not unpacked.`,
        most.raise,
      );
    if (entries > files.value)
      throw new UserFault(
        `The archive ${nameOf(archive)} holds more than ${files.value} files; it was not unpacked.`,
        files.raise,
      );
  };
}

/**
 * Unpacks an npm package: what is in its one top folder. Leaves out links and devices, as npm does.
 * Throws `UserFault` if the archive is damaged, hostile or too large.
 */
export async function untar(archive: string, into: string, env?: Env): Promise<void> {
  const tar = await import('tar');
  const count = await createCounter(archive, env);
  let fault: unknown = null;
  const stop = (error: unknown): false => {
    fault ??= error;
    return false;
  };
  // UnpackSync writes each part before it takes the next one, so nothing is still being written
  // when this function returns.
  const unpack = new tar.UnpackSync({
    cwd: into,
    strip: 1,
    strict: true,
    preserveOwner: false,
    filter: (path, entry) => {
      if (fault !== null || !('type' in entry)) return false;
      try {
        count(entry.size);
        const inside = path
          .split('/')
          .slice(1)
          .filter((part) => part !== '' && part !== '.')
          .join('/');
        if (inside !== '') pathInside(into, inside, `An entry of ${nameOf(archive)}`);
      } catch (error) {
        return stop(error);
      }
      return entry.type === 'File' || entry.type === 'OldFile' || entry.type === 'Directory';
    },
  });
  unpack.on('error', stop);
  try {
    for await (const part of unzippedParts(archive, env)) {
      unpack.write(part as Buffer);
      if (fault !== null) break;
    }
    if (fault === null) unpack.end();
  } catch (error) {
    stop(error);
  }
  if (fault !== null) throw archiveFault(archive, fault);
}

/**
 * Yields the unzipped bytes of an archive, which need not be gzip. Counts them against the limits
 * too, because padding and links take bytes but unpack to nothing.
 */
async function* unzippedParts(archive: string, env: Env | undefined): AsyncGenerator<Uint8Array> {
  const count = await createCounter(archive, env);
  const file = await open(archive);
  const magic = Buffer.alloc(2);
  try {
    await file.read(magic, 0, 2, 0);
  } finally {
    await file.close();
  }
  const bytes = createReadStream(archive);
  if (magic.readUInt16BE() !== 0x1f8b) {
    yield* bytes as AsyncIterable<Uint8Array>; // not gzip
    return;
  }
  // An error or an early end of either stream ends the other.
  const unzipped = stream.pipeline(bytes, createGunzip(), () => undefined);
  let total = 0;
  for await (const part of unzipped as AsyncIterable<Uint8Array>) {
    total += part.length;
    if (total >= PART) {
      count(total);
      total = 0;
    }
    yield part;
  }
}

/** How many bytes `unzippedParts` counts as one entry. */
const PART = 2 ** 20;

/**
 * Unpacks a wheel, which is a zip file. Throws `UserFault` if it is damaged, hostile or too large,
 * or has links.
 */
export async function unzip(archive: string, into: string, env?: Env): Promise<void> {
  const { openPromise } = await import('yauzl');
  const count = await createCounter(archive, env);
  try {
    const zip = await openPromise(archive, { lazyEntries: true });
    for await (const entry of zip.eachEntry()) {
      const folder = entry.fileName.endsWith('/');
      const name = folder ? entry.fileName.slice(0, -1) : entry.fileName;
      const path = pathInside(into, name, `An entry of ${nameOf(archive)}`);
      count(entry.uncompressedSize); // the reader refuses a longer entry
      if (folder) {
        await mkdir(path, { recursive: true });
        continue;
      }
      // the Unix file type: 8 for a plain file, 0 if the archive does not state it
      const kind = (entry.externalFileAttributes >>> 28) & 0xf;
      if (kind !== 0 && kind !== 0x8)
        throw new Error(
          `the entry ${JSON.stringify(entry.fileName.slice(0, 120))} is not a plain file`,
        );
      await mkdir(dirname(path), { recursive: true });
      await pipeline(
        await zip.openReadStreamPromise(entry),
        createWriteStream(path, { flags: 'wx' }),
      );
    }
  } catch (error) {
    throw archiveFault(archive, error);
  }
}

const nameOf = (archive: string): string => archive.replace(/^.*[\\/]/s, '');

/** System errors that are caused by the archive's content, not by the disk. */
const ARCHIVE_ERRORS = new Set(['EEXIST', 'ENOTDIR', 'EISDIR', 'ENAMETOOLONG', 'EILSEQ', 'EINVAL']);

/** Returns the fault of an error that the archive causes; any other error as it is. */
function archiveFault(archive: string, error: unknown): unknown {
  const { name, message, code, syscall } = error as NodeJS.ErrnoException;
  if (name === 'UserFault') return error;
  if (syscall !== undefined && !ARCHIVE_ERRORS.has(code ?? '')) return error;
  return new UserFault(
    `The archive ${nameOf(archive)} can't be unpacked: ${message}`,
    'It may be damaged or tampered with. Run again to fetch it anew.',
  );
}
