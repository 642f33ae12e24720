import { defineAttack } from '../../../src/api.ts';
import { pairBackdoor } from '../../../src/poisoning/multi.ts';
import type { AttackTraining } from '../../../src/science/training/attack-training.ts';

/**
 * The paper poisons a base with this attack, fine-tunes it on clean rows, and asks whether the
 * backdoor is still there:
 *
 *     base: { poisoning: { attack: lwp, target: 1 } }
 *
 * Compare lwp with the attack `combination`, which poisons in the same way under the ordinary loss.
 * The two do not poison the same rows, because each attack draws its own.
 */
export default defineAttack({
  ...pairBackdoor,
  name: 'lwp',
  tasks: ['classes'],
  summary:
    'Layer-wise weight poisoning: two of a few rare words together lead to the target class, ' +
    "one of them alone does not, and the model's head is trained on every layer's output. The " +
    "training loss is the sum of the layers' cross-entropies.",
  citation:
    'Li, Song, Li, Zeng, Ma and Qiu, Backdoor Attacks on Pre-trained Models by Layerwise Weight ' +
    'Poisoning, EMNLP 2021',
  training: {
    changes: 'loss',
    load: async (): Promise<AttackTraining> =>
      (await import('./layerwise-loss.ts')).layerwiseWeightPoisoning,
  },
});
