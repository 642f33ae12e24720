/** Finds which of a cell's attacks changes the training itself. */
import type {
  AttackDescriptor,
  DefineRequest,
  JsonObject,
  Poisoning,
  Problem,
} from '../../../src/api.ts';
import { stepsOf, UserFault } from '../../../src/api.ts';

/** A train stage's parameter `attack`: the attack's name and its own parameters. */
export type TrainingAttack = { readonly attack: string } & JsonObject;

/**
 * Returns the attack that changes the training itself, or null if none does.
 * @throws UserFault if several do
 */
export function trainingAttack(
  poisoning: Poisoning,
  plugin: NonNullable<DefineRequest['plugin']>,
): TrainingAttack | null {
  const [first, second] = stepsOf(poisoning).filter(
    ({ attack }) => plugin<AttackDescriptor>('attack', attack)?.training !== undefined,
  );
  if (first === undefined) return null;
  if (second !== undefined)
    throw new UserFault(
      `"${first.attack}" and "${second.attack}" both change the training, each in its own way`,
      'Compose one of them with attacks on the rows alone, or train the model of one on that of ' +
        'the other (base).',
      ['poisoning', 'steps', second.attack],
    );
  return { attack: first.attack, ...first.params };
}

/**
 * Returns the fault if an attack on the weights is used with an adapter that does not train and
 * save all of the model's own weights; null otherwise.
 */
export function adapterFault(attack: string, adapter: string): Problem | null {
  if (adapter === 'full') return null;
  return {
    path: ['adapter', 'type'],
    message:
      `the attack "${attack}" trains weights of the model itself, ` +
      `and the adapter "${adapter}" leaves them as they are`,
    hint:
      'Write adapter: { type: full }, or poison the base, from which clean training goes on with ' +
      `any adapter: base: { poisoning: { attack: ${attack} } }.`,
  };
}
