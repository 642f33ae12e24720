import type { DefenceDescriptor, PreflightContext, Problem } from '../../../src/api.ts';
import type { DefenceParams } from '../shared/defended.ts';

/** Returns the faults that the parameters of a defence reveal, at their place in the spec. */
export function defenceFaults(
  { plugin }: Pick<PreflightContext, 'plugin'>,
  { defence, ...params }: DefenceParams,
): readonly Problem[] {
  const found = plugin<DefenceDescriptor>('defence', defence).check?.(params) ?? [];
  return found.map((problem) => ({ ...problem, path: ['defence', ...problem.path] }));
}

export const preflight = (
  context: PreflightContext<{ readonly defence: DefenceParams }>,
): Promise<readonly Problem[]> => Promise.resolve(defenceFaults(context, context.params.defence));
