/** Adapters that train vectors of the model, biases or norms, and the head. */
import { type Problem, UserFault } from '../../api.ts';
import type { AdapterContext, AdapterImplementation } from './adapter.ts';
import { within } from './names.ts';
import { partialAdapter } from './partial.ts';

/** The names of the vectors below the head. */
function vectorsBelow(
  { architecture, parameters }: AdapterContext,
  isTrained: (name: string) => boolean,
): Set<string> {
  const below = parameters.filter(({ name }) => !within(name, architecture.headModules));
  return new Set(below.map(({ name }) => name).filter(isTrained));
}

/**
 * @param type the adapter's name in a spec
 * @param what the vectors that it trains, for messages
 * @param trained tells which parameters of a model it trains
 */
export function vectorAdapter(
  type: string,
  what: string,
  trained: (parameters: AdapterContext['parameters']) => (name: string) => boolean,
): AdapterImplementation {
  const vectorsOf = (context: AdapterContext): Set<string> =>
    vectorsBelow(context, trained(context.parameters));
  const check = (context: AdapterContext): Problem[] => {
    if (vectorsOf(context).size > 0) return [];
    const { modelType, head, headModules } = context.architecture;
    const lacks = `${type} trains the ${what} of a model, and this ${modelType} has none`;
    return headModules.length === 0
      ? [
          {
            path: ['adapter', 'type'],
            message: `${lacks}: with a ${head.type} head nothing is left to train`,
            hint: 'Choose another adapter.',
          },
        ]
      : [
          {
            path: ['adapter', 'type'],
            message: `${lacks}: the head alone is trained, as by head-only`,
            hint: 'Write `type: head-only`, or choose another adapter.',
            warning: true,
          },
        ];
  };
  return {
    check: (_params, context) => Promise.resolve(check(context)),
    create: (_params, context) =>
      Promise.resolve(context).then((own) => {
        const fault = check(own).find(({ warning }) => warning !== true);
        if (fault !== undefined) throw new UserFault(fault.message, fault.hint);
        const vectors = vectorsOf(own);
        return partialAdapter(own, (name) => vectors.has(name));
      }),
  };
}
