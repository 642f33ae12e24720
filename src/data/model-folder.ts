/** Finds a model's folder in an asset. In packages it may be some folders down. */
import { readdir, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { type Asset, type Digest, type RunContext, UserFault } from '../api.ts';
import { firstNames } from './names.ts';

const WEIGHTS = ['model.safetensors', 'model.safetensors.index.json'];
const DEEPEST = 6;

/** A model's folder, and the digest by which workers keep the model in memory. */
interface LocatedModel {
  readonly path: string;
  readonly digest: Digest;
}

/** Finds the model in an asset. Throws as `findModelDir` does. */
export async function locateModel(asset: Asset): Promise<LocatedModel> {
  return { path: await findModelDir(asset.path), digest: asset.digest };
}

/**
 * Returns the model that a cell's training starts from: the model of the cell's base, as the stage
 * `merge` wrote it (see `startInputs`), or, without a base, the checkpoint. Throws as
 * `findModelDir` does.
 */
export async function startingModel({
  assets,
  inputs,
}: Pick<RunContext, 'assets' | 'inputs'>): Promise<LocatedModel> {
  const { base } = inputs,
    { model } = assets;
  if (base !== undefined) return { path: join(base.dir, 'model'), digest: base.digest };
  if (model === undefined) throw new Error('the stage has no asset `model`');
  return locateModel(model);
}

/**
 * Returns the absolute path of the folder at or below `root` that holds `config.json` and
 * safetensors weights, the nearest to the root. If no folder has weights, returns the nearest with
 * `config.json`, which is enough for a random model. Throws `UserFault` if there is none within
 * `DEEPEST` levels, or if several are equally near.
 */
export async function findModelDir(root: string): Promise<string> {
  const seen: string[] = []; // every file, for the message if there is no model
  let bare: string[] = []; // the nearest folders without weights
  let level = [root];
  for (let depth = 0; depth <= DEEPEST && level.length > 0; depth++) {
    const found: string[] = [],
      weightless: string[] = [],
      below: string[] = [];
    for (const dir of level) {
      const entries = await listFolder(dir);
      const files = entries.filter((entry) => !entry.folder).map((entry) => entry.name);
      if (files.includes('config.json'))
        (WEIGHTS.some((name) => files.includes(name)) ? found : weightless).push(dir);
      seen.push(...files.map((name) => relative(root, join(dir, name))));
      below.push(
        ...entries
          .filter((entry) => entry.folder && !entry.name.startsWith('.'))
          .map((entry) => join(dir, entry.name)),
      );
    }
    const [only] = found;
    if (only !== undefined && found.length === 1) return only;
    if (found.length > 1) throw severalModelsFault(root, found);
    if (bare.length === 0) bare = weightless;
    level = below;
  }
  const [weightless] = bare;
  if (weightless !== undefined && bare.length === 1) return weightless;
  if (bare.length > 1) throw severalModelsFault(root, bare);
  throw new UserFault(
    'The source holds no folder with both config.json and model.safetensors.',
    seen.length === 0 ? 'It holds no file at all.' : `It holds ${firstNames(seen)}.`,
  );
}

const severalModelsFault = (root: string, found: readonly string[]): UserFault =>
  new UserFault(
    `${found.length} folders of this source hold a model: ` +
      found.map((dir) => relative(root, dir)).join(', '),
    'Name one of them after "#" in the source.',
  );

/**
 * Returns a folder's entries, sorted by name; a link is a folder if its target is one. Throws
 * `UserFault` if `dir` is a file or missing, or a link in it leads nowhere.
 */
async function listFolder(dir: string): Promise<readonly { name: string; folder: boolean }[]> {
  try {
    const entries = await readdir(dir, { withFileTypes: true });
    entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    // Hub snapshots consist of links into a blob store, so a link's target decides what an entry
    // is.
    return await Promise.all(
      entries.map(async (entry) => ({
        name: entry.name,
        folder: entry.isSymbolicLink()
          ? (await stat(join(dir, entry.name))).isDirectory()
          : entry.isDirectory(),
      })),
    );
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOTDIR')
      throw new UserFault(
        'A model source must be a folder with config.json, model.safetensors and ' +
          'tokenizer.json; this one is a file.',
      );
    if (code === 'ENOENT')
      throw new UserFault(`The model folder is not there, or a link in it leads nowhere: ${dir}`);
    throw error;
  }
}
