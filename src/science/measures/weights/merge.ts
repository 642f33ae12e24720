/** A model with its adapter merged into the weights: W0 + s·B·A where LoRA adapts a layer. */
import type { Network } from '../../models/network.ts';
import type { HostTensor } from '../../models/types.ts';
import { effectiveWeight } from './effective.ts';

/**
 * Returns the parameters by canonical name; products and sums are in double precision and rounded
 * once.
 */
export async function mergedParameters(network: Network): Promise<Map<string, HostTensor>> {
  const { adapter, linears } = network;
  const own = new Set(adapter.parameters.map(({ name }) => name));
  const adapted = new Map(
    adapter.parameters.length === 0
      ? []
      : linears
          .filter(({ name }) => adapter.targets.includes(name))
          .map((layer) => [`${layer.name}.weight`, layer]),
  );
  const merged = new Map<string, HostTensor>();
  for (const { name, shape } of network.parameters) {
    if (own.has(name)) continue;
    const layer = adapted.get(name);
    const data =
      layer === undefined
        ? await network.frozen(name).data<'float32'>()
        : Float32Array.from(await effectiveWeight(network, layer));
    merged.set(name, { shape, data });
  }
  return merged;
}
