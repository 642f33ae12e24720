import type { PreflightContext, Problem, ScorerDescriptor } from '../../../src/api.ts';
import { modelOf } from '../../../src/data/model-folder.ts';
import { targetOf } from '../../../src/poisoning/evaluation.ts';
import { backdoorOf, openSteps } from '../../../src/poisoning/steps.ts';
import { checkRows } from '../../../src/science/train/check.ts';
import { scorerFaults } from '../../../src/scoring/settings.ts';
import { assetOf } from '../../../src/stages/files.ts';
import { loadArchitecture } from '../../../src/stages/trained-model.ts';
import type { Params } from './index.ts';

export async function preflight(context: PreflightContext<Params>): Promise<readonly Problem[]> {
  return [...(await checkLength(context)), ...checkScorer(context)];
}

/** The faults that the scorer's parameters reveal. */
function checkScorer({ params, plugin }: PreflightContext<Params>): readonly Problem[] {
  const settings = params.completion?.scorer;
  if (settings === undefined) return [];
  const steps =
    params.trigger === null ? [] : openSteps(params.trigger, (name) => plugin('attack', name));
  const backdoor = backdoorOf(steps);
  const target = backdoor === null ? undefined : targetOf(backdoor.attack, backdoor.params, []);
  return scorerFaults(
    plugin<ScorerDescriptor>('scorer', settings.scorer),
    settings,
    typeof target === 'object' ? target.text : undefined,
  );
}

/** Checks `max_length` if it is set for this stage. The train stage checks an inherited one. */
async function checkLength(context: PreflightContext<Params>): Promise<readonly Problem[]> {
  const { architecture: name, max_length: value, inherited } = context.params;
  if (inherited) return [];
  const architecture = await loadArchitecture(context, name);
  try {
    const { path } = await modelOf(assetOf(context, 'model'));
    return await checkRows(path, architecture, { value, path: ['evaluate', 'max_length'] });
  } catch (error) {
    // The train stage reports what is wrong with the model.
    if (error instanceof Error && error.name === 'UserFault') return [];
    throw error;
  }
}
