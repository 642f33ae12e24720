/** The files of an asset that hold a data set. */
import { readdir, stat } from 'node:fs/promises';
import { basename, extname, join, relative } from 'node:path';
import type { Asset } from '../api.ts';
import { UserFault } from '../api.ts';
import { isGlob, matching } from './glob.ts';
import { parseUri } from './source-uri.ts';

export interface DataFile {
  readonly path: string;
  /** For messages: relative to the asset, or its own name. */
  readonly name: string;
}

/** `train-00001-of-00004.parquet` is a part of `train.parquet`. */
const whole = (name: string): string => name.replace(/-\d{5}-of-\d{5}(?=\.)/, '');

/**
 * The file itself; or of a folder the one file with such an ending, or all parts of the one that is split into parts; or
 * what the source's glob names.
 * @param endings with the dot, lower case.
 * @throws UserFault where there is none, or where it is not clear which: train and test must not be read as one.
 */
export async function dataFiles(
  asset: Asset,
  endings: readonly string[],
): Promise<readonly DataFile[]> {
  if (!(await stat(asset.path)).isDirectory())
    return [{ path: asset.path, name: basename(asset.path) }];
  const { fragment } = parseUri(asset.uri);
  const all = (await walk(asset.path)).map((path) =>
    relative(asset.path, path).replaceAll('\\', '/'),
  );
  let names = all.filter((name) => endings.includes(extname(name).toLowerCase()));
  if (isGlob(fragment)) names = matching(names, fragment);
  else {
    const sets = [...new Set(names.map(whole))];
    if (sets.length > 1) {
      throw new UserFault(
        `${asset.uri} holds several data files: ${some(sets)}.`,
        'Name one, or a glob of its parts, after "#" in the source (or as the path of a `file:` source).',
      );
    }
  }
  if (names.length === 0) {
    throw new UserFault(
      `${asset.uri} holds no data file that could be read (${endings.join(', ')}).`,
      all.length === 0 ? 'The folder is empty.' : `It holds ${some(all)}.`,
    );
  }
  return names.sort().map((name) => ({ path: join(asset.path, name), name }));
}

const some = (names: readonly string[]): string =>
  `${names.slice(0, 8).join(', ')}${names.length > 8 ? ` and ${names.length - 8} more` : ''}`;

async function walk(dir: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    if (entry.name.startsWith('.')) continue;
    const path = join(dir, entry.name);
    if (entry.isDirectory()) found.push(...(await walk(path)));
    else found.push(path); // hub snapshots hold links to files
  }
  return found.sort();
}
