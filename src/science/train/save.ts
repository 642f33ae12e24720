/** What a training leaves on disk. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Network } from '../nn/network.ts';
import type { HostTensor } from '../nn/types.ts';

/**
 * Writes what the adapter saves, with the trained values (those of the start, if none are given).
 * @param base what an adapter is said to belong to
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
    ...(base === undefined ? {} : { base }),
    read,
    parameters: network.parameters,
    changed: network.changed,
  });
}
