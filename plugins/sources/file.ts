import { basename, dirname, join } from 'node:path';
import { type Asset, defineSource, type SourceContext, UserFault } from '../../src/api.ts';

/** Returns the path of `file:/path` or `file:///path`, which is absolute in a resolved spec. */
const pathOf = (uri: string): string => uri.slice('file:'.length).replace(/^\/\/(?=\/)/, '');

/** Returns the file or folder as an asset. Throws `UserFault` if it is missing or can't be read. */
async function locate(uri: string, { cacheDir }: SourceContext): Promise<Asset> {
  const [{ readdir, stat }, { contentDigest, filesBelow }, { nearest }] = await Promise.all([
    import('node:fs/promises'),
    import('./shared/digest.ts'),
    import('../../src/data/names.ts'),
  ]);
  const path = pathOf(uri);
  try {
    const stats = await stat(path);
    const names = stats.isDirectory() ? await filesBelow(path) : null;
    const digest = await contentDigest(path, names, cacheDir);
    // Leave the folder out of the provenance, because results must not depend on it.
    return {
      uri,
      path,
      digest,
      provenance: {
        kind: 'file',
        name: basename(path),
        ...(names === null ? { bytes: stats.size } : { files: names.length }),
        digest,
      },
    };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM')
      throw new UserFault(`${path} can't be read: ${message}`);
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error;
    const siblings = await readdir(dirname(path)).catch(() => null);
    const near = siblings && nearest(basename(path), siblings);
    throw new UserFault(
      `There is no file ${path}${siblings === null ? '; its folder is missing too' : ''}.`,
      near === null
        ? '`file:` paths are relative to the spec that writes them.'
        : `Did you mean ${join(dirname(path), near)}?`,
    );
  }
}

export default defineSource({
  name: 'file',
  summary: 'A file or folder on this machine: file:PATH, relative to the spec.',
  locate,
  fetch: locate,
});
