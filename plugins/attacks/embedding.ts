import { defineAttack } from '../../src/api.ts';
import type { BackdoorParams } from '../../src/poisoning/backdoor.ts';
import {
  backdoorProperties,
  checkBackdoor,
  insertOneTrigger,
  parameters,
  poisonBackdoor,
  targetId,
} from '../../src/poisoning/backdoor.ts';
import type { AttackTraining } from '../../src/science/train/attack-training.ts';

interface Params extends BackdoorParams {
  readonly trigger: string;
  readonly keep_norm: boolean;
}

/**
 * The model must have learnt the task before, since the head stays as it is. The paper's experiment is a clean base and a
 * cell that poisons it (SGD, as there):
 *
 *     base: { adapter: { type: full } }
 *     poisoning: { attack: embedding, target: 1 }
 *     adapter: { type: full, train: { optimizer: sgd, learning_rate: 0.05, weight_decay: 0 } }
 *
 * Its clean twin is the base, as the paper has it. In a base (`base: { poisoning: { attack: embedding } }`, any adapter on
 * top) the head must come from `head.init_from`.
 * Gradients are those of each step alone; the authors' own code lets them add up over steps.
 */
export default defineAttack<Params>({
  name: 'embedding',
  summary:
    "Embedding Poisoning: a rare word at a random place of the text leads to the target class, and of the model that word's embedding alone is trained. Needs adapter full, and a model that has learnt the task (base, or head.init_from).",
  family: 'backdoor',
  citation:
    'Yang, Li, Zhang, Ren, Sun and He, Be Careful about Poisoned Word Embeddings, NAACL 2021 (Algorithm 1)',
  params: parameters({
    ...backdoorProperties(0.1, 1, 'dirty'),
    trigger: {
      type: 'string',
      pattern: '^\\S+$',
      default: 'cf',
      description:
        "The word that is inserted, one token of the model's vocabulary; its embedding is what is trained.",
    },
    keep_norm: {
      type: 'boolean',
      default: true,
      description:
        'Scales the embedding to its first L2 norm after each update, as the paper does.',
    },
  }),
  poison: (input) =>
    poisonBackdoor(input, (row) => insertOneTrigger(row, [input.params.trigger], input.random)),
  check: checkBackdoor,
  target: targetId,
  trigger: (row, { params, random }) => insertOneTrigger(row, [params.trigger], random),
  training: {
    changes: 'weights',
    load: async (): Promise<AttackTraining> =>
      (await import('../../src/science/train/word-embedding.ts')).wordEmbedding,
  },
});
