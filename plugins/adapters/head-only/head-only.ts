/** Linear probing, which trains the head and leaves the body unchanged. */
import { type Problem, UserFault } from '../../../src/api.ts';
import type {
  Adapter,
  AdapterContext,
  AdapterImplementation,
} from '../../../src/science/models/adapter.ts';
import { partialAdapter } from '../../../src/science/models/partial.ts';

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

function create(context: AdapterContext): Adapter {
  const [fault] = check(context);
  if (fault !== undefined) throw new UserFault(fault.message, fault.hint);
  return partialAdapter(context, () => false);
}

export const headOnly: AdapterImplementation = {
  check: (_params, context) => Promise.resolve(check(context)),
  create: (_params, context) => Promise.resolve(context).then(create),
};
