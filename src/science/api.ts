/**
 * The exports of 'dosimeter/science': the parts that models, adapters and attacks on training are
 * made of. Plugins import it inside `load` (`await import`), so that planning loads no numerics.
 */
export type { Adapter, AdapterContext, AdapterImplementation, SaveContext } from './nn/adapter.ts';
export { bert, family } from './nn/family.ts';
export { full } from './nn/full.ts';
export { layerNorm } from './nn/layer-norm.ts';
export { linear } from './nn/linear.ts';
export { lora } from './nn/lora.ts';
export { crossEntropy } from './nn/loss.ts';
export type { Network, Tensors } from './nn/network.ts';
export { partialAdapter } from './nn/partial.ts';
export type * from '../families/description.ts';
export type {
  AttackTraining,
  TokenRows,
  TrainedModel,
  TrainingChange,
} from './train/attack-training.ts';
export { gradientsOf, lossAndGradients } from './train/gradients.ts';
export type { Batch, LossAndGradients, LossOptions, Objective } from './train/gradients.ts';
export type {
  Architecture,
  ForwardContext,
  Head,
  LinearLayer,
  ParameterSpec,
  TokenRow,
} from './model/types.ts';
