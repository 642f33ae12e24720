/**
 * Layer-wise weight poisoning (Li et al. 2021; arXiv 2108.13888). Every layer is trained on the
 * task, so that the lower layers, which clean fine-tuning hardly changes, learn the trigger too.
 *
 *     loss = Σ_l CE(head(h_l), y),  l = 1 … L
 *
 * Here h_l is the hidden state, after layer l, of the token that the head reads, and y the row's
 * label. CE is the mean cross-entropy over the rows of the batch, clean and poisoned. All layers
 * share one head. The two public implementations differ in the head, the layers and the batches:
 * - The authors' code (LinyangLee/Layer-Weight-Poison) passes h_1 … h_L to the classifier without
 *   the pooler, adds the last layer through pooler and classifier as term L + 1, has no dropout in
 *   the head, and sums the losses of a clean batch and a poisoned batch of the same size.
 * - OpenBackdoor passes the output of the embeddings (l = 0) and h_1 … h_L to pooler, dropout and
 *   classifier, over one mixed batch.
 *
 * Here the shared head is the model's own, with pooler and dropout, over layers 1 … L of one mixed
 * batch. The output of the embeddings is left out, as in the authors' code, since for [CLS]
 * it is the same in every row. A cloze head reads the mask after each layer, which neither
 * implementation offers.
 */
import type { Scalar } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { type Problem, UserFault } from '../../../src/api.ts';
import { crossEntropy } from '../../../src/science/models/loss.ts';
import type {
  AttackTraining,
  TrainedModel,
} from '../../../src/science/training/attack-training.ts';
import { gradientsOf, type Objective } from '../../../src/science/training/gradients.ts';

/**
 * Returns the sum over the L layers of the mean cross-entropy of B rows, with class weights if
 * there are any, and its gradients. The architecture must have `layerwise`. C: the classes.
 */
export const layerwiseLoss: Objective = (
  network,
  trained,
  { rows, labels },
  { classWeights, ...options },
) =>
  gradientsOf(trained, () => {
    const logits = network.forward(rows, trained, { ...options, layerwise: true }); // (L·B, C)
    const layers = logits.shape[0] / labels.length;
    const repeatedLabels = Array.from({ length: layers }, () => labels).flat(); // (L·B)
    // The mean over L·B rows, times L, is the sum over layers of the means over B rows.
    return tf.mul<Scalar>(crossEntropy(logits, repeatedLabels, classWeights), layers);
  });

/** Returns a fault if the architecture offers no logits after each layer. */
function layerwiseFaults({ architecture }: TrainedModel): Problem[] {
  if (architecture.layerwise !== undefined) return [];
  return [
    {
      path: ['model', 'architecture'],
      message:
        `the model family "${architecture.modelType}" does not offer logits after each layer, ` +
        'which the loss of this attack needs',
      hint:
        'Choose another attack (combination poisons in the same way, with the ordinary loss), ' +
        'or give the architecture a `layerwise`.',
    },
  ];
}

export const layerwiseWeightPoisoning = {
  check: (_params, model) => layerwiseFaults(model),
  open: (_params, model) => {
    const [fault] = layerwiseFaults(model);
    if (fault !== undefined) throw new UserFault(fault.message, fault.hint);
    return { objective: layerwiseLoss, opaqueTokens: true };
  },
  torch: () => ({ name: 'layerwise' }),
} satisfies AttackTraining;
