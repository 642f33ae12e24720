/**
 * The exports of 'dosimeter/science': the parts that models, adapters and attacks on training are
 * made of. Plugins import it inside `load` (`await import`), so that planning loads no numerics.
 */
export type {
  Adapter,
  AdapterContext,
  AdapterImplementation,
  SaveContext,
} from './science/models/adapter.ts';
export { bert, family } from './science/models/family.ts';
export { full } from './science/models/fine-tuning.ts';
export { layerNorm } from './science/models/norms.ts';
export { linear } from './science/models/linear.ts';
export { lora } from '../plugins/adapters/lora/lora.ts';
export { crossEntropy } from './science/models/loss.ts';
export type { Network, Tensors } from './science/models/network.ts';
export { partialAdapter } from './science/models/fine-tuning.ts';
export type * from './science/models/families/description.ts';
export type {
  AttackTraining,
  TokenRows,
  TrainedModel,
  TrainingChange,
} from './science/training/attack-training.ts';
export { gradientsOf, lossAndGradients } from './science/training/gradients.ts';
export type {
  Batch,
  LossAndGradients,
  LossOptions,
  Objective,
} from './science/training/gradients.ts';
export type {
  Architecture,
  ForwardContext,
  Head,
  LinearLayer,
  ParameterSpec,
  TokenRow,
} from './science/models/types.ts';
