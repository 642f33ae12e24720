/** What opens the models that a cell's trainings left. */
import type { AdapterDescriptor, ModelDescriptor, RunContext } from '../api.ts';
import { UserFault } from '../api.ts';
import { startingModel } from '../data/model-folder.ts';
import type { Architecture } from '../science/model/types.ts';
import type { AdaptedModelOptions } from '../science/nn/adapted-model.ts';
import type { AdapterImplementation } from '../science/nn/adapter.ts';
import type { ModelNames } from './definition.ts';

/** Of `openTrained` and `loadAdaptedModel`, all but the folder of the training and the step. */
export type ModelParts = Pick<AdaptedModelOptions, 'model' | 'architecture' | 'adapter'>;

type Plugins = Pick<RunContext, 'plugin'>;

export const loadArchitecture = (context: Plugins, name: string): Promise<Architecture> =>
  context.plugin<ModelDescriptor<Architecture>>('model', name).load();

export const loadAdapter = (context: Plugins, name: string): Promise<AdapterImplementation> =>
  context.plugin<AdapterDescriptor<AdapterImplementation>>('adapter', name).load();

/**
 * The checkpoint (or base) that the cell's training starts from, and the code of its architecture
 * and adapter. The stage's definition has `startInputs` among its inputs and `modelUses` as `uses`.
 * @throws UserFault where the checkpoint's folder holds no model
 */
export async function modelParts(
  context: Pick<RunContext, 'assets' | 'inputs' | 'plugin'> & { readonly params: ModelNames },
): Promise<ModelParts> {
  const { architecture, adapter } = context.params;
  return {
    model: await startingModel(context),
    architecture: await loadArchitecture(context, architecture),
    adapter: await loadAdapter(context, adapter),
  };
}

/**
 * Throws a UserFault unless the rows have the classes of the training rows, in the same order: a
 * label id would else mean another class than the model learnt.
 * @param which the rows, as the message names them
 */
export function checkClasses(
  which: string,
  classes: readonly string[],
  trained: readonly string[],
): void {
  if (JSON.stringify(classes) === JSON.stringify(trained)) return;
  throw new UserFault(
    `${which} have the classes ${classes.join(', ')}, the training rows ${trained.join(', ')}`,
    'Name them once for both splits, as data.classes.',
  );
}
