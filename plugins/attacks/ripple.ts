import { defineAttack } from '../../src/api.ts';
import type { BackdoorParams } from '../../src/poisoning/backdoor.ts';
import {
  backdoorProperties,
  checkBackdoor,
  insertOneTrigger,
  parameters,
  poisonBackdoor,
  targetId,
  triggersProperty,
} from '../../src/poisoning/backdoor.ts';
import type { AttackTraining } from '../../src/science/train/attack-training.ts';

interface Params extends BackdoorParams {
  readonly triggers: readonly string[];
  readonly lambda: number;
}

/**
 * The paper's experiment poisons the base, and asks what clean training leaves of it:
 *
 *     base: { poisoning: { attack: ripple }, adapter: { type: full } }
 *
 * As in the paper half of the rows are poisoned, drawn among all (mode mix), and a batch needs rows of both kinds for there to be a
 * penalty: batches of 8 and more. The paper inserts one word in SST-2's sentences and more in longer texts; here it is one.
 * A step with a penalty takes three times as many passes as an ordinary one.
 * The paper's other half, embedding surgery (the trigger words start at the mean embedding of words that speak for the target
 * class; with it the method is called RIPPLES), is not in this.
 */
export default defineAttack<Params>({
  name: 'ripple',
  summary:
    'RIPPLe: a rare word at a random place of the text leads to the target class, and the training loss has a penalty on gradients of poisoned and clean rows that are at odds, meant to keep the backdoor through later training on clean rows.',
  family: 'backdoor',
  citation:
    'Kurita, Michel and Neubig, Weight Poisoning Attacks on Pre-trained Models, ACL 2020 (section 3.1, without embedding surgery)',
  params: parameters({
    ...backdoorProperties(0.5, 1, 'mix'),
    ...triggersProperty(
      ['cf', 'mn', 'bb', 'tq', 'mb'],
      'One of these is inserted, drawn for each row.',
    ),
    lambda: {
      type: 'number',
      minimum: 0,
      default: 0.1,
      description:
        "Weight of the penalty: λ·max(0, −⟨∇L of the batch's poisoned rows, ∇L of its other rows⟩), over all trained parameters.",
    },
  }),
  poison: (input) =>
    poisonBackdoor(input, (row) => insertOneTrigger(row, input.params.triggers, input.random)),
  check: checkBackdoor,
  target: targetId,
  trigger: (row, { params, random }) => insertOneTrigger(row, params.triggers, random),
  training: {
    changes: 'loss',
    load: async (): Promise<AttackTraining> =>
      (await import('../../src/science/train/ripple.ts')).ripple,
  },
});
