/** Full fine-tuning, which trains every parameter. */
import { join } from 'node:path';
import type { Adapter, AdapterImplementation } from './adapter.ts';
import { writeCheckpoint } from './io/checkpoint.ts';
import { forTransformers } from './io/stored.ts';
import { linear } from './linear.ts';
import type { HostTensor, LinearLayer } from './types.ts';

function fullAdapter(linears: readonly LinearLayer[]): Adapter {
  return {
    trains: () => true,
    parameters: [],
    initial: () => new Map(),
    targets: linears.filter(({ adaptable }) => adaptable).map(({ name }) => name),
    linear: (_layer, x, weight, bias) => linear(x, weight, bias),
    factors: () => null,
    save: async (outDir, { architecture, modelDir, classes, read, parameters }) => {
      const tensors = new Map<string, HostTensor>();
      for (const { name } of parameters) tensors.set(name, await read(name));
      await writeCheckpoint(
        join(outDir, 'model'),
        modelDir,
        classes,
        architecture.transformersName,
        forTransformers(architecture, parameters, tensors),
      );
    },
  };
}

export const full: AdapterImplementation = {
  check: () => Promise.resolve([]),
  create: (_params, { linears }) => Promise.resolve(fullAdapter(linears)),
};
