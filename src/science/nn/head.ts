/** A classification head from a folder: a PEFT adapter's, or a checkpoint's. */
import { join } from 'node:path';
import { UserFault } from '../../api.ts';
import { openCheckpoint, readJson } from '../io/checkpoint.ts';
import { isPeftFolder, readPeft } from '../io/peft.ts';
import { readParameters, resolveNames } from './base.ts';
import type { Architecture, HostTensor, LinearLayer } from './types.ts';

/** A checkpoint's config.json, parsed. */
export const readConfig = (dir: string): Promise<unknown> => readJson(join(dir, 'config.json'));

/** The classifier's weight and bias by canonical name. Throws UserFault where the folder has none that fits the classes. */
export async function readHead(dir: string, architecture: Architecture, linears: readonly LinearLayer[], classes: number): Promise<Map<string, HostTensor>> {
  const head = linears.filter(({ adaptable }) => !adaptable);
  const specs = head.flatMap(({ name, in: n, out: m }) => [{ name: `${name}.weight`, shape: [m, n] }, { name: `${name}.bias`, shape: [m] }]);
  let tensors: ReadonlyMap<string, HostTensor>;
  if (isPeftFolder(dir)) tensors = (await readPeft(dir, architecture, linears)).saved;
  else {
    const checkpoint = await openCheckpoint(dir);
    tensors = await readParameters(checkpoint, resolveNames(checkpoint, architecture, specs));
  }
  const missing = specs.find(({ name }) => !tensors.has(name));
  if (missing !== undefined) throw new UserFault(`${dir} holds no "${missing.name}" for ${classes} classes`, 'Name a PEFT folder saved with modules_to_save, or the checkpoint of a classifier.');
  return new Map(specs.map(({ name }) => [name, tensors.get(name)!]));
}
