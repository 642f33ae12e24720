/** Where in an asset a checkpoint lies: packages keep theirs some folders down. */
import { readdir, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Asset, Digest, RunContext } from '../api.ts';
import { UserFault } from '../api.ts';

const WEIGHTS = ['model.safetensors', 'model.safetensors.index.json'];
const DEEPEST = 6;

/** The model that an asset holds: its folder, and the digest under which it is kept warm. @throws as findModelDir */
export async function modelOf(
  asset: Asset,
): Promise<{ readonly path: string; readonly digest: Digest }> {
  return { path: await findModelDir(asset.path), digest: asset.digest };
}

/** The model that a cell's training starts from, as `startInputs` has it handed over: its base's (merge's output), or the checkpoint. @throws as findModelDir */
export async function startingModel({
  assets,
  inputs,
}: Pick<RunContext, 'assets' | 'inputs'>): Promise<{
  readonly path: string;
  readonly digest: Digest;
}> {
  const base = inputs['base'];
  return base === undefined
    ? modelOf(assets['model']!)
    : { path: join(base.dir, 'model'), digest: base.digest };
}

/**
 * The one folder at or below `root` that holds `config.json` and safetensors weights, as an absolute path; where none has
 * weights, the one with `config.json`, which is all that a random model needs (whoever reads weights misses them).
 * A folder nearer to the root wins over those below it.
 * @throws UserFault where there is none, or where several lie equally deep.
 */
export async function findModelDir(root: string): Promise<string> {
  const seen: string[] = []; // what a mistaken folder does hold, for the message
  let bare: string[] = []; // the nearest ones without weights
  let level = [root];
  for (let depth = 0; depth <= DEEPEST && level.length > 0; depth++) {
    const found: string[] = [],
      weightless: string[] = [],
      below: string[] = [];
    for (const dir of level) {
      const entries = await list(dir);
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
    if (found.length === 1) return found[0]!;
    if (found.length > 1) throw several(root, found);
    if (bare.length === 0) bare = weightless;
    level = below;
  }
  if (bare.length === 1) return bare[0]!;
  if (bare.length > 1) throw several(root, bare);
  throw new UserFault(
    'The source holds no folder with both config.json and model.safetensors.',
    seen.length === 0
      ? 'It holds no file at all.'
      : `It holds ${seen.slice(0, 8).join(', ')}${seen.length > 8 ? ` and ${seen.length - 8} more` : ''}.`,
  );
}

const several = (root: string, found: readonly string[]): UserFault =>
  new UserFault(
    `${found.length} folders of this source hold a model: ${found.map((dir) => relative(root, dir)).join(', ')}`,
    'Name one of them after "#" in the source.',
  );

async function list(dir: string): Promise<readonly { name: string; folder: boolean }[]> {
  try {
    const entries = await readdir(dir, { withFileTypes: true });
    entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    // Hub snapshots are links into a blob store, so a link's target decides.
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
        'A model source must be a folder with config.json, model.safetensors and tokenizer.json; this one is a file.',
      );
    if (code === 'ENOENT')
      throw new UserFault(`The model folder is not there, or a link in it leads nowhere: ${dir}`);
    throw error;
  }
}
