import path from 'node:path';
import { listFiles, sha256File } from '../../src/store/files.ts';
import type { Manifest } from '../../src/store/manifest.ts';

/** Returns the list of files for the manifest of an output folder. */
export const digestFiles = (dir: string): Promise<Manifest['files']> =>
  Promise.all(
    listFiles(dir).map(async ({ path: name, size }) => ({
      path: name,
      size,
      sha256: await sha256File(path.join(dir, name), size),
    })),
  );
