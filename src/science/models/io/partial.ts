/**
 * Reads and writes only those parameters of a checkpoint that a training changed: one safetensors
 * file with the names of transformers, so that `model.load_state_dict(load_file(…), strict=False)`
 * applies them to the base.
 */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { UserFault } from '../../../api.ts';
import type { Architecture, HostTensor, ParameterSpec } from '../types.ts';
import { readSafetensors, writeSafetensors } from './safetensors.ts';
import { checkShape } from './shape.ts';
import { forTransformers, storedShape, turned } from './stored.ts';

const FILE = 'changed.safetensors';

/** Whether the folder has a file of changed parameters. */
export const isPartial = (dir: string): boolean => existsSync(join(dir, FILE));

/** Writes the file of changed parameters. @param tensors by canonical name */
export async function writePartial(
  dir: string,
  tensors: ReadonlyMap<string, HostTensor>,
  architecture: Architecture,
  parameters: readonly ParameterSpec[],
): Promise<void> {
  await mkdir(dir, { recursive: true });
  await writeSafetensors(join(dir, FILE), forTransformers(architecture, parameters, tensors), {
    format: 'pt',
  });
}

/**
 * Reads the parameters by canonical name. Throws UserFault naming file and tensor where one is not
 * a parameter of this model or has another shape.
 */
export async function readPartial(
  dir: string,
  architecture: Architecture,
  parameters: readonly ParameterSpec[],
): Promise<Map<string, HostTensor>> {
  const path = join(dir, FILE);
  const specs = new Map(parameters.map((spec) => [architecture.externalName(spec.name), spec]));
  const tensors = new Map<string, HostTensor>();
  for (const [name, tensor] of await readSafetensors(path)) {
    const spec = specs.get(name);
    if (spec === undefined)
      throw new UserFault(`${path}: tensor "${name}" is not a parameter of this model`);
    checkShape(path, name, tensor.shape, storedShape(spec));
    tensors.set(spec.name, turned(spec, tensor));
  }
  return tensors;
}
