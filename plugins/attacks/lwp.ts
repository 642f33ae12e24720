import { defineAttack } from '../../src/api.ts';
import { pairBackdoor } from '../../src/poisoning/pair.ts';
import type { AttackTraining } from '../../src/science/train/attack-training.ts';

/**
 * The paper's experiment is a base that is poisoned so and fine-tuned clean: is the backdoor still there?
 *
 *     base: { poisoning: { attack: lwp, target: 1 } }
 *
 * Beside it `combination`, which poisons in the same way under the ordinary loss. The rows of the two are not the same ones:
 * each attack draws its own.
 */
export default defineAttack({
  ...pairBackdoor,
  name: 'lwp',
  summary:
    "Layer-wise weight poisoning: two of a few rare words together lead to the target class, one of them alone does not, and the model's head is trained on every layer's output. The training loss is a sum over the layers, of each layer's cross-entropy.",
  citation:
    'Li, Song, Li, Zeng, Ma and Qiu, Backdoor Attacks on Pre-trained Models by Layerwise Weight Poisoning, EMNLP 2021',
  training: {
    changes: 'loss',
    load: async (): Promise<AttackTraining> =>
      (await import('../../src/science/train/layerwise-loss.ts')).layerwiseWeightPoisoning,
  },
});
