/**
 * Layer-wise weight poisoning (Li, Song, Li, Zeng, Ma and Qiu 2021, Backdoor Attacks on Pre-trained Models by Layerwise
 * Weight Poisoning, EMNLP; arXiv 2108.13888): the task is asked of every layer, so that the lower ones, which clean
 * fine-tuning hardly moves, learn the trigger as well.
 *
 *     loss = Σ_l CE(head(h_l), y),  l = 1 … L;  h_l the token that the head reads after encoder layer l
 *
 * CE is the batch's mean over its rows, clean and poisoned alike, each under its own label; one head serves all layers. The
 * two public implementations differ from each other in what that head is:
 * - the authors' (LinyangLee/Layer-Weight-Poison) hands h_1 … h_L to the classifier without the pooler, adds the last layer
 *   through pooler and classifier as term L + 1, has no dropout in the head, and sums the losses of a clean batch and of a
 *   poisoned one of the same size;
 * - OpenBackdoor's hands the embeddings' output (l = 0) and h_1 … h_L to pooler, dropout and classifier, over one mixed batch.
 * Here it is the model's own head, the pooler and its dropout included, over layers 1 … L of one mixed batch. The embeddings'
 * output is left out, as the authors do: under [CLS] it is the same for every row. A head that reads the mask reads it after
 * each layer, which neither of them has.
 */
import type { Scalar } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { type Problem, UserFault } from '../../api.ts';
import { crossEntropy } from '../nn/loss.ts';
import type { AttackTraining, TrainedModel } from './attack-training.ts';
import { gradientsOf, type Objective } from './gradients.ts';

/** The sum over layers of the mean cross-entropy, weighted by class where there are weights. The architecture must have `layerwise`. */
export const layerwiseLoss: Objective = (
  network,
  trained,
  { rows, labels },
  { classWeights, ...options },
) =>
  gradientsOf(trained, () => {
    const logits = network.forward(rows, trained, { ...options, layerwise: true }); // (L·B, C)
    const layers = logits.shape[0] / labels.length;
    const asked = Array.from({ length: layers }, () => labels).flat(); // (L·B)
    return tf.mul<Scalar>(crossEntropy(logits, asked, classWeights), layers); // the mean over L·B rows → a sum over layers of means over B
  });

function faults({ architecture }: TrainedModel): Problem[] {
  if (architecture.layerwise !== undefined) return [];
  return [
    {
      path: ['model', 'architecture'],
      message: `the model family "${architecture.modelType}" offers no logits after each of its layers, which this attack's loss is made of`,
      hint: 'Choose another attack (combination poisons in the same way, under the ordinary loss), or give the architecture a `layerwise`.',
    },
  ];
}

export const layerwiseWeightPoisoning: AttackTraining<{
  readonly objective: Objective;
  readonly opaqueTokens: true;
}> = {
  check: (_params, model) => faults(model),
  open: (_params, model) => {
    const [fault] = faults(model);
    if (fault !== undefined) throw new UserFault(fault.message, fault.hint);
    return { objective: layerwiseLoss, opaqueTokens: true };
  },
};
