import { basename, join, posix } from 'node:path';
import { type Asset, type Digest, type JsonObject, UserFault } from '../../../src/api.ts';
import { firstNames, isGlob, matching, nearest } from '../../../src/data/names.ts';
import { contentDigest, filesBelow } from './digest.ts';

/** Returns the path after `#` without needless parts such as `./` and `a/..`; `.` for ''. */
export const normaliseFragment = (fragment: string): string =>
  posix.normalize(fragment.replace(/^\/+/, '')).replace(/\/$/, '');

/**
 * Returns the asset that a URI refers to: a package or snapshot, or the part of it that `fragment`
 * names. Throws `UserFault` if there is no such part.
 * @param root the folder of the package or snapshot
 * @param whole the digest of the whole package or snapshot
 * @param provenance the provenance of the whole; `path` is added to it for a part
 * @param files the files that belong to the package or snapshot; default: all files below `root`
 */
export async function assetWithin(
  uri: string,
  root: string,
  fragment: string,
  cacheDir: string,
  whole: Digest,
  provenance: JsonObject,
  files?: readonly string[],
): Promise<Asset> {
  if (fragment === '') return { uri, path: root, digest: whole, provenance };
  const inside = normaliseFragment(fragment);
  if (inside === '..' || inside.startsWith('../'))
    throw new UserFault(`The path after "#" in ${uri} leads out of the package.`);
  const all = files ?? (await filesBelow(root));
  const fault = (): UserFault => {
    const folders = new Set(
      all.flatMap((name) =>
        name
          .split('/')
          .slice(0, -1)
          .map((_, depth, parts) => parts.slice(0, depth + 1).join('/')),
      ),
    );
    const near =
      nearest(inside, [...folders, ...all]) ??
      all.find((name) => basename(name) === basename(inside));
    return new UserFault(
      `${uri} does not name a file: there is no ${inside} in it.`,
      near === undefined ? `It holds ${firstNames(all)}.` : `Did you mean "#${near}"?`,
    );
  };
  /** Returns the part at a path as an asset. @param names a folder's files; null for a file */
  const assetAt = async (path: string, names: readonly string[] | null): Promise<Asset> => ({
    uri,
    path,
    digest: await contentDigest(path, names, cacheDir),
    provenance: { ...provenance, path: inside },
  });
  const path = join(root, inside);
  if (all.includes(inside)) return assetAt(path, null);
  const prefix = `${inside}/`;
  const names = isGlob(inside)
    ? matching(all, inside)
    : all.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  if (names.length === 0) throw fault();
  // For a glob, the asset's path is the root, because the reader applies the glob to it again.
  return assetAt(isGlob(inside) ? root : path, names);
}
