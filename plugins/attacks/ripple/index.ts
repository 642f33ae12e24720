import { defineAttack } from '../../../src/api.ts';
import {
  backdoor,
  insertOneTrigger,
  type TriggersParams,
} from '../../../src/poisoning/backdoor.ts';
import { triggersProperty } from '../../../src/poisoning/parameters.ts';
import type { AttackTraining } from '../../../src/science/training/attack-training.ts';

interface Params extends TriggersParams {
  readonly lambda: number;
}

/**
 * The paper poisons the base, and asks how much of the backdoor survives clean training:
 *
 *     base: { poisoning: { attack: ripple }, adapter: { type: full } }
 *
 * As in the paper, half of the rows are poisoned, drawn among all (mode mix). A batch has a penalty
 * only if it has both poisoned and clean rows, so batches should have at least 8 rows. The paper
 * inserts one word in SST-2's sentences and several in longer texts; this attack always inserts
 * one. A step with a penalty takes three times as many passes as an ordinary one. The paper's
 * second method, embedding surgery, is left out: it starts the trigger words at the mean embedding
 * of words typical of the target class. Both methods together are called RIPPLES.
 */
export default defineAttack({
  ...backdoor<Params>({
    rate: 0.5,
    mode: 'mix',
    properties: {
      ...triggersProperty(
        ['cf', 'mn', 'bb', 'tq', 'mb'],
        'One of these is inserted, drawn for each row.',
      ),
      lambda: {
        type: 'number',
        minimum: 0,
        default: 0.1,
        description:
          "Weight of the penalty: λ·max(0, −⟨∇L of the batch's poisoned rows, ∇L of its other " +
          'rows⟩), over all trained parameters.',
      },
    },
    show: (row, { triggers, place }, random) => insertOneTrigger(row, triggers, random, place),
  }),
  name: 'ripple',
  tasks: ['classes'],
  summary:
    'RIPPLe: a rare word in the text leads to the target class, and the ' +
    'training loss has a penalty on gradients of poisoned and clean rows that point in opposite ' +
    'directions, meant to keep the backdoor through later training on clean rows.',
  citation:
    'Kurita, Michel and Neubig, Weight Poisoning Attacks on Pre-trained Models, ACL 2020 ' +
    '(section 3.1, without embedding surgery)',
  training: {
    changes: 'loss',
    load: async (): Promise<AttackTraining> => (await import('./training.ts')).ripple,
  },
});
