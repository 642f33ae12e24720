/**
 * Fine-tuning of some of the model's parameters: nothing is added, and only what changed is saved.
 */
import type { Adapter, AdapterContext } from './adapter.ts';
import { writePartial } from './io/partial.ts';
import { linear } from './linear.ts';
import type { HostTensor } from './types.ts';

/**
 * An adapter that trains the head and some of the model's parameters.
 * @param trains whether the model parameter of this canonical name is trained
 */
export function partialAdapter(
  { linears }: AdapterContext,
  trains: (name: string) => boolean,
): Adapter {
  return {
    trains,
    ofModel: trains,
    parameters: [],
    initial: () => new Map(),
    targets: linears.filter(({ adaptable }) => adaptable).map(({ name }) => name),
    linear: (_layer, x, weight, bias) => linear(x, weight, bias),
    factors: () => null,
    save: async (outDir, { architecture, changed, parameters, read }) => {
      const tensors = new Map<string, HostTensor>();
      for (const name of changed) tensors.set(name, await read(name));
      await writePartial(outDir, tensors, architecture, parameters);
    },
  };
}
