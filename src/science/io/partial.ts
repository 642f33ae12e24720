/**
 * What a training changed of a checkpoint and nothing else: one safetensors file with transformers' parameter names, so that
 * `model.load_state_dict(load_file(…), strict=False)` puts it over the base.
 */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { UserFault } from '../../api.ts';
import type { Architecture, HostTensor, ParameterSpec } from '../nn/types.ts';
import { readSafetensors, writeSafetensors } from './safetensors.ts';

const FILE = 'changed.safetensors';

/** Whether a train stage left such a file. */
export const isPartial = (dir: string): boolean => existsSync(join(dir, FILE));

/** @param tensors by canonical name */
export async function writePartial(
  dir: string,
  tensors: ReadonlyMap<string, HostTensor>,
  architecture: Architecture,
): Promise<void> {
  await mkdir(dir, { recursive: true });
  await writeSafetensors(
    join(dir, FILE),
    new Map([...tensors].map(([name, tensor]) => [architecture.externalName(name), tensor])),
    { format: 'pt' },
  );
}

/** By canonical name. Throws UserFault naming file and tensor where one is no parameter of this model, or has another shape. */
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
      throw new UserFault(`${path}: tensor "${name}" is no parameter of this model`);
    if (
      tensor.shape.length !== spec.shape.length ||
      tensor.shape.some((x, i) => x !== spec.shape[i])
    ) {
      throw new UserFault(
        `${path}: tensor "${name}" has shape [${tensor.shape.join(', ')}], [${spec.shape.join(', ')}] was expected`,
      );
    }
    tensors.set(spec.name, tensor);
  }
  return tensors;
}
