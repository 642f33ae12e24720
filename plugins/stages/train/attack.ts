import type { AttackDescriptor, DefenceDescriptor, RunContext } from '../../../src/api.ts';
import {
  checkedTraining,
  type OpenedAttack,
} from '../../../src/science/training/attack-training.ts';
import type { Params } from './params.ts';

/** Loads the attack that changes the training itself; null if none does. */
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

/** Loads the defence whose loss the training minimises; null if there is none. */
export async function loadDefence(
  context: Pick<RunContext<Params>, 'params' | 'plugin'>,
): Promise<OpenedAttack | null> {
  if (context.params.defence === undefined) return null;
  const { defence: name, ...params } = context.params.defence;
  const load = context.plugin<DefenceDescriptor>('defence', name).training?.load;
  if (load === undefined) throw new Error(`the defence "${name}" has no loss of its own`);
  const implementation = checkedTraining(name, await load(), 'defence');
  return { kind: 'defence', name, params, changes: 'loss', implementation };
}
