/**
 * BitFit (Ben Zaken, Goldberg & Ravfogel 2022): trains the head and every bias, including those of
 * norms.
 */
import type { AdapterImplementation } from './adapter.ts';
import { partialAdapter } from './partial.ts';

export const bitfit: AdapterImplementation = {
  check: () => Promise.resolve([]),
  create: (_params, context) =>
    Promise.resolve(partialAdapter(context, (name) => name.endsWith('.bias'))),
};
