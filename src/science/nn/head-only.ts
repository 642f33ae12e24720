/** Linear probing: the body stays as it is, the head alone is trained. */
import { type Problem, UserFault } from '../../api.ts';
import type { AdapterContext, AdapterImplementation } from './adapter.ts';
import { partialAdapter } from './partial.ts';

function check({ architecture }: AdapterContext): Problem[] {
  if (architecture.headModules.length > 0) return [];
  return [
    {
      path: ['adapter', 'type'],
      message: `head-only has nothing to train: the ${architecture.head.type} head is pretrained`,
      hint: 'Give the model a classifier (head.type), or choose another adapter.',
    },
  ];
}

export const headOnly: AdapterImplementation = {
  check: async (_params, context) => check(context),
  create: async (_params, context) => {
    const [fault] = check(context);
    if (fault !== undefined) throw new UserFault(fault.message, fault.hint);
    return partialAdapter(context, () => false);
  },
};
