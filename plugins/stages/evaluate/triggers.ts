/** Under which triggers a cell is evaluated, and the requests of the evaluations under others. */
import { isDeepStrictEqual } from 'node:util';
import {
  type AttackDescriptor,
  attackedTraining,
  attackOf,
  type Cell,
  type DefineRequest,
  isAttacked,
  isChain,
  type JsonObject,
  type Poisoning,
  type ScorerDescriptor,
  type StageDefinition,
  type StageRequest,
  stepsOf,
  trainingsOf,
  UserFault,
} from '../../../src/api.ts';
import { familyOfSteps, openSteps } from '../../../src/poisoning/steps.ts';
import { furtherScorersOf, scorerOf } from './scoring.ts';

/** The prefix of the inputs with metrics under triggers that training never shows. */
export const HELD_OUT = 'trigger/';
/**
 * The prefix of the inputs with metrics under the trigger of another poisoned training of a chain
 * than the one that the cell studies: `link/1` of training 1, after the cell's own training, and
 * `link/1/after_2` after another.
 */
export const LINK = 'link/';
/** What ends the names of these metrics, `asr.trigger.training_1`, without the number. */
export const OF_TRAINING = 'training_';

export type TaskSplit = `tasks.${string}`;
export type Split = 'validation' | 'test' | TaskSplit;

export const ofSplit = (split: Split): JsonObject => (split === 'validation' ? {} : { split });

export const narrowedTo = (narrowed: JsonObject): Pick<StageRequest, 'with'> =>
  Object.keys(narrowed).length === 0 ? {} : { with: narrowed };

/**
 * Returns the attack with its parameters if it is a backdoor. Other attacks have no trigger to
 * evaluate, so the result is null for them.
 */
export function triggerOf(cell: Cell, plugin: DefineRequest['plugin']): Poisoning | null {
  if (!isAttacked(cell)) return null;
  const poisoning = attackOf(cell);
  const attacks = new Map<string, AttackDescriptor>();
  for (const { attack } of stepsOf(poisoning)) {
    const descriptor = plugin?.<AttackDescriptor>('attack', attack);
    if (descriptor === undefined) return poisoning; // the planner reports an attack that is missing
    attacks.set(attack, descriptor);
  }
  const steps = openSteps(poisoning, (name) => {
    const descriptor = attacks.get(name);
    if (descriptor === undefined) throw new Error(`the cell has no attack ${name}`);
    return descriptor;
  });
  return familyOfSteps(steps) === 'backdoor' ? poisoning : null;
}

/**
 * Requests the evaluations under triggers that training never shows, by the names of their inputs.
 * Throws `UserFault` where the attack can't show one.
 * @param poisoning the attack whose trigger is evaluated
 */
export function heldOutOf(
  cell: Cell,
  poisoning: Poisoning | null,
  split: Split,
  plugin: DefineRequest['plugin'],
): StageDefinition['inputs'] {
  const { triggers = [] } = cell.evaluate;
  const fault = (i: number, message: string, hint: string): UserFault =>
    new UserFault(message, hint, ['evaluate', 'triggers', i]);
  if (triggers.length === 0 || !isAttacked(cell)) return {};
  const own = attackOf(cell),
    steps = stepsOf(own);
  const requests = triggers.flatMap(({ name, attack, ...shown }, i) => {
    const step = steps.find((one) => one.attack === attack);
    if (step === undefined) return [];
    const descriptor = plugin?.<AttackDescriptor>('attack', attack);
    if (descriptor?.learns === true)
      throw fault(
        i,
        `the attack "${attack}" learns its trigger from the training rows, and has no other`,
        'Leave the trigger out.',
      );
    if (poisoning === null || (descriptor && !descriptor.trigger && !descriptor.triggerAll))
      throw fault(i, `the attack "${attack}" has no trigger to vary`, 'Name a backdoor.');
    const params = { ...step.params, ...(shown as JsonObject) };
    if (isDeepStrictEqual(params, step.params))
      throw fault(
        i,
        `the trigger "${name}" is the one that training shows`,
        'Give it other parameters of the attack than those under "poisoning".',
      );
    const trigger =
      steps.length === 1
        ? { attack, ...params }
        : { ...own, steps: { ...(own['steps'] as JsonObject), [attack]: params } };
    return [
      [
        `${HELD_OUT}${name}`,
        { kind: 'evaluate', cell, ...narrowedTo({ trigger, ...ofSplit(split), held_out: true }) },
      ] as const,
    ];
  });
  return Object.fromEntries(requests);
}

/**
 * Requests the evaluations under the triggers of the other poisoned trainings of a chain, after each
 * training from theirs on. A trigger is left out if it is learnt from rows, or if a scorer counts
 * another text than the attack's target.
 */
export function linksOf(
  cell: Cell,
  split: Split,
  plugin: DefineRequest['plugin'],
): StageDefinition['inputs'] {
  const studied = triggerOf(cell, plugin);
  if (!isChain(cell) || studied === null) return {};
  const trainings = trainingsOf(cell),
    { section } = attackedTraining(cell);
  const inputs: { [name: string]: StageRequest } = {};
  for (const [k, link] of trainings.entries()) {
    if (link.section === section || link.cell.poisoning.attack === 'none') continue;
    const trigger = triggerOf(link.cell, plugin);
    if (trigger === null || !isMeasured(cell, { studied, trigger }, plugin)) continue;
    const name = `${OF_TRAINING}${k + 1}`;
    const namesake = cell.evaluate.triggers?.findIndex((one) => one.name === name) ?? -1;
    if (namesake >= 0)
      throw new UserFault(
        `"${name}" names the trigger of another attack of the chain, that of training ${k + 1}`,
        'Give the trigger another name.',
        ['evaluate', 'triggers', namesake],
      );
    for (const [j, later] of trainings.entries()) {
      if (j < k) continue;
      const after = later.cell === cell ? '' : `/after_${j + 1}`,
        narrowed = j === k ? ofSplit(split) : { trigger, ...ofSplit(split), held_out: true };
      inputs[`${LINK}${k + 1}${after}`] = { kind: 'evaluate', ...later, ...narrowedTo(narrowed) };
    }
  }
  return inputs;
}

/** Whether the scorers that the spec names for one attack of a chain count another's success. */
function isMeasured(
  { head, evaluate }: Cell,
  { studied, trigger }: { readonly studied: Poisoning; readonly trigger: Poisoning },
  plugin: DefineRequest['plugin'],
): boolean {
  const attacks = stepsOf(trigger).map(({ attack }) =>
    plugin?.<AttackDescriptor>('attack', attack),
  );
  if (attacks.some((attack) => attack?.learns === true)) return false;
  const targets = [studied, trigger].map((own) =>
    stepsOf(own).map(({ params }) => params['target']),
  );
  if (head.type !== 'causal-lm' || isDeepStrictEqual(targets[0], targets[1])) return true;
  const find = (name: string) => plugin?.<ScorerDescriptor>('scorer', name);
  const [own] = attacks.flatMap((attack) => attack?.scorer ?? []);
  const main = scorerOf(evaluate, find, own);
  const named = [
    ...(evaluate.scorer === undefined ? [] : [main]),
    ...furtherScorersOf(evaluate, find, main),
  ];
  return named.every(
    ({ settings }) => find(settings.scorer)?.reads?.(settings).includes('target') === true,
  );
}
