import type { AttackDescriptor, DefenceDescriptor, RunContext } from '../../../src/api.ts';
import {
  checkedTraining,
  type OpenedAttack,
} from '../../../src/science/training/attack-training.ts';
import type { Params } from './params.ts';

type Loading = Pick<RunContext<Params>, 'params' | 'plugin'>;

/** Loads the attack that changes the training itself; null if none does. */
export async function loadAttack({ params, plugin }: Loading): Promise<OpenedAttack | null> {
  if (params.attack === undefined) return null;
  const { attack: name, ...own } = params.attack;
  const { training } = plugin<AttackDescriptor>('attack', name);
  if (training === undefined) throw new Error(`the attack "${name}" takes no part in training`);
  const implementation = checkedTraining(name, await training.load());
  return { name, params: own, changes: training.changes, implementation };
}

/** Loads the defence whose loss the training minimises; null if there is none. */
export async function loadDefence({ params, plugin }: Loading): Promise<OpenedAttack | null> {
  if (params.defence === undefined) return null;
  const { defence: name, ...own } = params.defence;
  const load = plugin<DefenceDescriptor>('defence', name).training?.load;
  if (load === undefined) throw new Error(`the defence "${name}" has no loss of its own`);
  const implementation = checkedTraining(name, await load(), 'defence');
  return { kind: 'defence', name, params: own, changes: 'loss', implementation };
}
