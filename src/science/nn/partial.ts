/** Fine-tuning of some of the model's own parameters: nothing is added, and what changed is all that is saved. */
import { writePartial } from '../io/partial.ts';
import type { Adapter, AdapterContext } from './adapter.ts';
import { linear } from './linear.ts';
import type { HostTensor } from './types.ts';

/** @param trains which of the model's parameters, by canonical name, are trained beside the head */
export function partialAdapter(
  { linears }: AdapterContext,
  trains: (name: string) => boolean,
): Adapter {
  return {
    trains,
    parameters: [],
    initial: () => new Map(),
    targets: linears.filter(({ adaptable }) => adaptable).map(({ name }) => name),
    linear: (_layer, x, weight, bias) => linear(x, weight, bias),
    factors: () => null,
    packable: false,
    save: async (outDir, { architecture, changed, read }) => {
      const tensors = new Map<string, HostTensor>();
      for (const name of changed) tensors.set(name, await read(name));
      await writePartial(outDir, tensors, architecture);
    },
  };
}
