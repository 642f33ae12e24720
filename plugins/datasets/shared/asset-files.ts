import { readdir, stat } from 'node:fs/promises';
import { basename, extname, join, relative } from 'node:path';
import { type Asset, type Json, type JsonObject, UserFault } from '../../../src/api.ts';
import { parseUri } from '../../../src/data/format.ts';
import { firstNames, isGlob, matching } from '../../../src/data/names.ts';

/** Returns the name without a part's number: `train.csv` for `train-00001-of-00004.csv`. */
const withoutPartNumber = (name: string): string => name.replace(/-\d{5}-of-\d{5}(?=\.)/, '');

/**
 * Returns the data files of an asset. If the asset is a file, returns that file. If it is a folder,
 * returns the files with one of the endings: all that the source's glob matches or, without a glob,
 * the only one, which may be split into parts. Throws `UserFault` if there is none or, without a
 * glob, several: train and test must not be read as one.
 * @param endings in lower case, with the dot
 * @returns `name`, for messages, is the file's path within the asset, or its file name
 */
export async function dataFiles(
  asset: Asset,
  endings: readonly string[],
): Promise<{ path: string; name: string }[]> {
  if (!(await stat(asset.path)).isDirectory())
    return [{ path: asset.path, name: basename(asset.path) }];
  const { fragment } = parseUri(asset.uri);
  const entries = await readdir(asset.path, { recursive: true, withFileTypes: true });
  const all = entries
    .filter((entry) => !entry.isDirectory()) // links too: a hub snapshot is made of links
    .map(({ parentPath, name }) => relative(asset.path, join(parentPath, name)))
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => !/(^|\/)\./.test(path)) // nothing hidden, and nothing below it
    .sort();
  let names = all.filter((name) => endings.includes(extname(name).toLowerCase()));
  if (isGlob(fragment)) names = matching(names, fragment);
  else {
    const sets = [...new Set(names.map(withoutPartNumber))];
    if (sets.length > 1) {
      throw new UserFault(
        `${asset.uri} holds several data files: ${firstNames(sets)}.`,
        'Name one, or a glob of its parts, after "#" in the source (or as the path of a ' +
          '`file:` source).',
      );
    }
  }
  if (names.length === 0) {
    throw new UserFault(
      `${asset.uri} holds no data file that could be read (${endings.join(', ')}).`,
      all.length === 0 ? 'The folder is empty.' : `It holds ${firstNames(all)}.`,
    );
  }
  return names.sort().map((name) => ({ path: join(asset.path, name), name }));
}

/** Joins what is said of a file's parts: counts add up; other facts are those of the first part. */
export function joinFacts(before: JsonObject, part: JsonObject): JsonObject {
  const joined: Record<string, Json> = { ...part, ...before };
  for (const [name, value] of Object.entries(part)) {
    const count = before[name];
    if (typeof value === 'number' && typeof count === 'number') joined[name] = count + value;
  }
  return joined;
}
