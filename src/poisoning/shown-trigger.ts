/** Adds a backdoor's trigger to rows, for the stages that show it to a model. */
import type { AttackDescriptor, Json, Poisoning, Row, Target } from '../api.ts';
import { UserFault } from '../api.ts';
import { attackStreams } from '../base/random.ts';
import { shown } from '../base/untrusted/json.ts';
import { falselyTriggeredRows, targetOf, triggeredRows } from './evaluation.ts';
import { backdoorOf, openSteps, type Step } from './steps.ts';
import { isOfTarget } from './target.ts';

export interface ShownTrigger {
  /** What the backdoor leads to: the label id of a class, or an answer. */
  readonly target: Target;
  /** The rows whose class or answer is not the target, without the trigger. */
  readonly bare: readonly Row[];
  /** The same rows in the same order, with the trigger. */
  readonly shown: readonly Row[];
  /** Returns rows with part of the trigger. Empty if the attack has no negatives. */
  readonly partial: () => Promise<readonly Row[]>;
}

export interface TriggerOptions {
  readonly classes: readonly string[];
  /** The seed of the attack's streams. */
  readonly seed: number;
  /** Returns an attack by its name. */
  readonly plugin: (name: string) => AttackDescriptor;
  /** The paths of the trigger's files, by file name. */
  readonly files: Step['files'];
  /** What the attacks have learnt from the training rows, by name. */
  readonly learnt?: { readonly [attack: string]: Json };
  readonly log: (message: string) => void;
}

/**
 * Returns the rows as evaluation shows them. Null if none of the attacks is a backdoor.
 * @param rows validation rows; frozen from here on
 * @throws UserFault if every row belongs to the target, if two of the attacks are backdoors,
 *   or if the backdoor returns rows that do not fit
 */
export async function showTrigger(
  poisoning: Poisoning,
  rows: readonly Row[],
  { classes, seed, plugin, files, learnt = {}, log }: TriggerOptions,
): Promise<ShownTrigger | null> {
  const backdoor = backdoorOf(openSteps(poisoning, plugin, files));
  if (backdoor === null) return null;
  const { attack, params } = backdoor;
  const target = targetOf(attack, params, classes);
  const bare = rows.filter((row) => !isOfTarget(row, target));
  if (bare.length === 0) {
    const what =
      typeof target === 'number'
        ? `is of the target class "${String(classes[target])}"`
        : `has the target as its answer, ${shown(target.text)}`;
    throw new UserFault(`every validation row ${what}: there is none to show the trigger on`);
  }
  const input = {
    classes,
    params,
    random: attackStreams(seed, attack.name),
    files: backdoor.files,
    log,
    ...(learnt[attack.name] === undefined ? {} : { learnt: learnt[attack.name] as Json }),
  };
  return {
    target,
    bare,
    shown: await triggeredRows(attack, bare, input),
    partial: () => falselyTriggeredRows(attack, bare, input),
  };
}
