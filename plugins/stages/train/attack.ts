import type { AttackDescriptor, RunContext } from '../../../src/api.ts';
import { checkedTraining, type OpenedAttack } from '../../../src/science/train/checked-attack.ts';
import type { Params } from './params.ts';

/**
 * Loads the attack that changes the training itself. Returns null if none does.
 * @throws UserFault if what the attack's plugin loads is not an `AttackTraining`
 */
export async function loadAttack(
  context: Pick<RunContext<Params>, 'params' | 'plugin'>,
): Promise<OpenedAttack | null> {
  if (context.params.attack === undefined) return null;
  const { attack: name, ...params } = context.params.attack;
  const { training } = context.plugin<AttackDescriptor>('attack', name);
  if (training === undefined) throw new Error(`the attack "${name}" takes no part in training`);
  return {
    name,
    params,
    changes: training.changes,
    implementation: checkedTraining(name, await training.load()),
  };
}
