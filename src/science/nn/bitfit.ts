/** BitFit (Ben Zaken, Goldberg & Ravfogel 2022): every bias is trained, those of norms included, and the head. */
import type { AdapterImplementation } from './adapter.ts';
import { partialAdapter } from './partial.ts';

export const bitfit: AdapterImplementation = {
  check: async () => [],
  create: async (_params, context) => partialAdapter(context, (name) => name.endsWith('.bias')),
};
