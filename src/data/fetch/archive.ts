/** Unpacking what came from elsewhere: files and folders only, and none outside the folder given. */
import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { UserFault } from '../../api.ts';

/** An npm package's archive: what lies under its one top folder. Links and devices are left out, as npm itself does. */
export async function untar(archive: string, into: string): Promise<void> {
  const tar = await import('tar');
  try {
    await tar.extract({
      file: archive,
      cwd: into,
      strip: 1,
      strict: true,
      preserveOwner: false,
      filter: (_path, entry) =>
        'type' in entry &&
        (entry.type === 'File' || entry.type === 'OldFile' || entry.type === 'Directory'),
    });
  } catch (error) {
    throw damaged(archive, error);
  }
}

/** A wheel, which is a zip file. */
export async function unzip(archive: string, into: string): Promise<void> {
  const { openPromise } = await import('yauzl');
  const root = resolve(into);
  try {
    const zip = await openPromise(archive, { lazyEntries: true });
    for await (const entry of zip.eachEntry()) {
      const path = resolve(join(root, entry.fileName));
      if (!path.startsWith(root + sep))
        throw new Error(`the entry ${JSON.stringify(entry.fileName)} leads out of its folder`);
      if (entry.fileName.endsWith('/')) {
        await mkdir(path, { recursive: true });
        continue;
      }
      const kind = (entry.externalFileAttributes >>> 28) & 0xf; // Unix file type; 0 where the archive has none
      if (kind !== 0 && kind !== 0x8)
        throw new Error(`the entry ${JSON.stringify(entry.fileName)} is no plain file`);
      await mkdir(dirname(path), { recursive: true });
      await pipeline(
        await zip.openReadStreamPromise(entry),
        createWriteStream(path, { flags: 'wx' }),
      );
    }
  } catch (error) {
    throw damaged(archive, error);
  }
}

const damaged = (archive: string, error: unknown): UserFault =>
  new UserFault(
    `The archive ${archive.split(/[\\/]/).at(-1)} can't be unpacked: ${(error as Error).message}`,
    'It may be damaged or tampered with. Run again to fetch it anew.',
  );
