import type { AttackDescriptor, RunContext } from '../../../src/api.ts';
import { checkedTraining, type OpenedAttack } from '../../../src/science/train/checked-attack.ts';
import type { Params } from './params.ts';

/**
 * The attack that touches the training, with its code; null where none does.
 * @throws UserFault where what its plugin loads is not an `AttackTraining`
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
