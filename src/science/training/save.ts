/** Writes the result of a training. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { defined } from '../../base/defined.ts';
import type { Network } from '../models/network.ts';
import type { HostTensor } from '../models/types.ts';

/**
 * Writes the files of the adapter into `outDir`.
 * @param trained the trained values; null to save the initial ones
 * @param modelDir the folder of the base checkpoint
 * @param base the name of the base model, where it is not that checkpoint
 */
export async function saveTrained(
  network: Network,
  trained: ReadonlyMap<string, Tensor> | null,
  outDir: string,
  modelDir: string,
  classes: readonly string[],
  base?: string,
): Promise<void> {
  const read = async (name: string): Promise<HostTensor> => {
    const tensor = trained?.get(name) ?? network.frozen(name);
    return { shape: tensor.shape, data: (await tensor.data()) as Float32Array };
  };
  await network.adapter.save(outDir, {
    architecture: network.architecture,
    modelDir,
    classes,
    ...defined({ base }),
    read,
    parameters: network.parameters,
    changed: network.changed,
  });
}
