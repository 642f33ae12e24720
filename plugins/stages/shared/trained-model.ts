import {
  type AdapterDescriptor,
  type ModelDescriptor,
  type RunContext,
  UserFault,
} from '../../../src/api.ts';
import { startingModel } from '../../../src/data/model-folder.ts';
import { firstNames } from '../../../src/data/names.ts';
import { evaluated, type EvaluatedModel } from '../../../src/science/measures/evaluate/predict.ts';
import type { ModelWeights } from '../../../src/science/measures/weights/effective.ts';
import type { AdapterImplementation } from '../../../src/science/models/adapter.ts';
import type { Network, NetworkOptions } from '../../../src/science/models/network.ts';
import type { AdaptedModel, Architecture } from '../../../src/science/models/types.ts';
import { openTorchKernels, type TorchKernels } from '../../../src/science/torch/kernels.ts';
import {
  openTorchModel,
  readTorchStart,
  type TorchModel,
  weightsOf,
} from '../../../src/science/torch/model.ts';
import {
  adaptedModel,
  type AdaptedModelOptions,
  openTrained,
  readTrained,
  type TrainRecord,
} from '../../../src/science/training/adapted-model.ts';
import type { ModelNames } from './definition.ts';

/** What `openTrained` needs beside the training's folder and the step. */
export type ModelParts = Pick<AdaptedModelOptions, 'model' | 'architecture' | 'adapter'>;

type Plugins = Pick<RunContext, 'plugin'>;

/** Loads the code of an architecture. @param folder the checkpoint's folder */
export const loadArchitecture = (
  context: Plugins,
  name: string,
  folder: string,
): Promise<Architecture> =>
  context.plugin<ModelDescriptor<Architecture>>('model', name).load(folder);

export const loadAdapter = (context: Plugins, name: string): Promise<AdapterImplementation> =>
  context.plugin<AdapterDescriptor<AdapterImplementation>>('adapter', name).load();

/**
 * Returns the checkpoint (or base) that the cell's training starts from, and the code of its
 * architecture and adapter, for a stage with `startInputs` as inputs and `modelUses` as `uses`.
 */
export async function modelParts(
  context: Pick<RunContext, 'assets' | 'inputs' | 'plugin'> & { readonly params: ModelNames },
): Promise<ModelParts> {
  const { architecture, adapter } = context.params;
  const model = await startingModel(context);
  return {
    model,
    architecture: await loadArchitecture(context, architecture, model.path),
    adapter: await loadAdapter(context, adapter),
  };
}

/** The weights of a trained model, which the caller disposes of. */
interface OpenedWeights {
  readonly weights: ModelWeights;
  /** Absent under the backend torch. */
  readonly network?: Network;
  readonly record: TrainRecord;
  readonly dispose: () => void;
}

/** A trained model for evaluation, which the caller disposes of. */
interface OpenedModel extends OpenedWeights {
  readonly model: EvaluatedModel;
  /** Present under the backend torch, as are the `options` that the model was opened with. */
  readonly torch?: TorchModel;
  readonly options?: NetworkOptions;
}

async function openNetwork(options: AdaptedModelOptions): Promise<OpenedModel> {
  const { network, record } = await openTrained(options);
  return {
    model: evaluated(network),
    network,
    weights: network,
    record,
    dispose: () => network.dispose(),
  };
}

/** Opens a model on the engine of the stage's backend. Throws UserFault as `openTrained` does. */
export async function openModel(
  { backend }: Pick<RunContext, 'backend'>,
  options: AdaptedModelOptions,
): Promise<OpenedModel> {
  if (backend !== 'torch') return openNetwork(options);
  const { network: asked, record } = await readTrained(options);
  const start = await readTorchStart(asked);
  const model = await openTorchModel(start);
  return {
    model,
    torch: model,
    options: asked,
    weights: weightsOf(start),
    record,
    dispose: () => model.dispose(),
  };
}

/**
 * Opens a model as `openModel` does, but only to read its weights: PyTorch's process is not
 * started.
 */
export async function openWeights(
  { backend }: Pick<RunContext, 'backend'>,
  options: AdaptedModelOptions,
): Promise<OpenedWeights> {
  if (backend !== 'torch') return openNetwork(options);
  const { network: asked, record } = await readTrained(options);
  return { weights: weightsOf(await readTorchStart(asked)), record, dispose: () => undefined };
}

/**
 * Opens a trained model whose kernels are computed: by PyTorch's process or, on TensorFlow.js, by
 * the stage itself. The caller disposes of it.
 */
export const openForKernels = async (
  { backend }: Pick<RunContext, 'backend'>,
  options: AdaptedModelOptions,
): Promise<TorchKernels | AdaptedModel> =>
  backend === 'torch'
    ? openTorchKernels(await readTorchStart((await readTrained(options)).network))
    : adaptedModel((await openTrained(options)).network);

/**
 * Throws a `UserFault` unless rows have the classes of the training rows, in the same order.
 * @param which what to call the rows: `the validation rows`
 * @param trained the classes of the training rows
 */
export function checkClasses(
  which: string,
  classes: readonly string[],
  trained: readonly string[],
): void {
  if (JSON.stringify(classes) === JSON.stringify(trained)) return;
  throw new UserFault(
    `${which} have the classes ${firstNames(classes)}, the training rows ${firstNames(trained)}`,
    'Name them once for both splits, as data.classes.',
  );
}
