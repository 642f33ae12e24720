import { defineAttack } from '../../src/api.ts';
import { backdoor, type BackdoorParams, insertOneTrigger } from '../../src/poisoning/backdoor.ts';
import type { AttackTraining } from '../../src/science/training/attack-training.ts';

interface Params extends BackdoorParams {
  readonly trigger: string;
  readonly keep_norm: boolean;
}

/**
 * The head is not trained, so the model must already have learnt the task. As in the paper, this
 * cell poisons a clean base with SGD:
 *
 *     base: { adapter: { type: full } }
 *     poisoning: { attack: embedding, target: 1 }
 *     adapter: { type: full, train: { optimizer: sgd, learning_rate: 0.05, weight_decay: 0 } }
 *
 * The cell's clean twin is the base, as in the paper. If instead the base itself is poisoned with
 * this attack (`base: { poisoning: { attack: embedding } }`), whatever adapter the cell then
 * trains, the base's head must come from `head.init_from`. Each step uses only its own gradients;
 * the authors' code lets gradients add up over steps.
 */
export default defineAttack({
  ...backdoor<Params>({
    properties: {
      trigger: {
        type: 'string',
        pattern: '^\\S+$',
        default: 'cf',
        description:
          "The word that is inserted, one token of the model's vocabulary. Its embedding is " +
          'what is trained.',
      },
      keep_norm: {
        type: 'boolean',
        default: true,
        description:
          'Scales the embedding to its original L2 norm after each update, as the paper does.',
      },
    },
    show: (row, { trigger, place }, random) => insertOneTrigger(row, [trigger], random, place),
  }),
  name: 'embedding',
  tasks: ['classes'],
  summary:
    'Embedding Poisoning: a rare word in the text leads to the target class, ' +
    "and only that word's embedding is trained. Needs the adapter full, and a model that has " +
    'learnt the task (base, or head.init_from).',
  citation:
    'Yang, Li, Zhang, Ren, Sun and He, Be Careful about Poisoned Word Embeddings, NAACL 2021 ' +
    '(Algorithm 1)',
  training: {
    changes: 'weights',
    load: async (): Promise<AttackTraining> =>
      (await import('../../src/science/training/attack-training.ts')).wordEmbedding,
  },
});
