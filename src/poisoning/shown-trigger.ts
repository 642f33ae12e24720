/** A backdoor's trigger, put on rows for the stages that show it to a model. */
import type { AttackDescriptor, Poisoning, Row } from '../api.ts';
import { UserFault } from '../api.ts';
import { falselyTriggeredRows, targetOf, triggeredRows } from './evaluation.ts';
import { backdoorOf, openSteps, type Step } from './steps.ts';
import { attackStreams } from './streams.ts';

export interface ShownTrigger {
  /** The label id of the class that the backdoor leads to. */
  readonly target: number;
  /** The rows of other classes, as they are. */
  readonly bare: readonly Row[];
  /** The same rows in the same order, under the trigger. */
  readonly shown: readonly Row[];
  /** Rows that hold part of the trigger; none where the attack has no negatives. */
  readonly partial: () => Promise<readonly Row[]>;
}

export interface TriggerOptions {
  readonly classes: readonly string[];
  /** Of the attack's streams. */
  readonly seed: number;
  /** An attack by its name. */
  readonly plugin: (name: string) => AttackDescriptor;
  /** Paths of the trigger's files, by their own names. */
  readonly files: Step['files'];
  readonly log: (message: string) => void;
}

/**
 * The rows as evaluation shows them. Null where none of the attacks is a backdoor.
 * @param rows validation rows; frozen from here on
 * @throws UserFault where every row is of the target class, where two of the attacks are backdoors,
 *   or where the backdoor does not give rows as it must
 */
export async function showTrigger(
  poisoning: Poisoning,
  rows: readonly Row[],
  { classes, seed, plugin, files, log }: TriggerOptions,
): Promise<ShownTrigger | null> {
  const backdoor = backdoorOf(openSteps(poisoning, plugin, files));
  if (backdoor === null) return null;
  const { attack, params } = backdoor;
  const target = targetOf(attack, params, classes);
  const bare = rows.filter(({ label }) => label !== target);
  if (bare.length === 0) {
    const name = String(classes[target]);
    throw new UserFault(
      `every validation row is of the target class "${name}": ` +
        'there is none to show the trigger on',
    );
  }
  const input = {
    classes,
    params,
    random: attackStreams(seed, attack.name),
    files: backdoor.files,
    log,
  };
  return {
    target,
    bare,
    shown: await triggeredRows(attack, bare, input),
    partial: () => falselyTriggeredRows(attack, bare, input),
  };
}
