/**
 * Makes the rows on which a backdoor is evaluated: with its trigger, or with a part of the trigger.
 * What the attack returns is checked, because attacks may be anyone's code.
 */
import {
  type AttackDescriptor,
  type AttackInput,
  type Json,
  type JsonObject,
  type Poisoning,
  type Row,
  type Target,
  taskOf,
  UserFault,
} from '../api.ts';
import { defined } from '../base/defined.ts';
import { attackStreams } from '../base/random.ts';
import { isRecord, shown } from '../base/untrusted/json.ts';
import { firstNames } from '../data/names.ts';
import { isOfTarget } from './classes.ts';
import { callReadOnly, readOnly } from './read-only.ts';
import { backdoorOf, openSteps, type Step } from './steps.ts';

/**
 * Returns what a backdoor leads to: the label id of a class or, if there are no classes, an answer.
 * Throws `UserFault`, with the field of the spec, if the attack names neither.
 */
export function targetOf(
  { name, target }: Pick<AttackDescriptor, 'name' | 'target'>,
  params: JsonObject,
  classes: readonly string[],
): Target {
  const id: unknown = target?.(params, classes);
  if (taskOf(classes) === 'completion') return answerTarget(id, name, params);
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < classes.length) return id;
  const json = JSON.stringify(id) as string | undefined;
  const given = typeof id === 'number' ? String(id) : (json ?? typeof id);
  throw new UserFault(
    `the attack "${name}" has the target ${given}, which is not the label id of a class: ` +
      `the classes are ${firstNames(classes.map((label, i) => `${i} ("${label}")`))}`,
    '`target` of an attack returns a label id (AttackDescriptor in src/api/attack.ts); ' +
      'if the attack takes it from its parameters, correct it there.',
    targetPath(params),
  );
}

/**
 * Returns the field of the spec that a wrong target comes from: the parameter `target` if there is
 * one, else the attack.
 */
const targetPath = (params: JsonObject): readonly string[] => [
  'poisoning',
  Object.hasOwn(params, 'target') ? 'target' : 'attack',
];

/** Checks that a target is an answer, and returns it. Throws `UserFault` if it is none. */
function answerTarget(target: unknown, attack: string, params: JsonObject): Target {
  if (isRecord(target) && typeof target['text'] === 'string') return { text: target['text'] };
  if (target === 'rejected') return target;
  throw new UserFault(
    `the attack "${attack}" has the target ${shown(target)}, and the rows are prompts and ` +
      'answers: the target must be an answer',
    '`target` of an attack returns { text } or "rejected" where there are no classes ' +
      '(AttackDescriptor in src/api/attack.ts).',
    targetPath(params),
  );
}

const withTrueLabels = (shownRow: Row, { label, answer, rejected }: Row): Row => ({
  ...shownRow,
  label,
  ...defined({ answer, rejected }),
});

type Input = Omit<AttackInput<JsonObject>, 'rows'>;

/**
 * Returns the rows with the trigger, in the same order. They have their true labels and answers,
 * whatever the attack gives them. Throws `UserFault` if the attack returns other rows, or writes to
 * those given.
 * @param rows frozen from here on: what an attack wrote to them would be evaluated as if clean
 */
export async function triggeredRows(
  attack: AttackDescriptor,
  rows: readonly Row[],
  input: Input,
): Promise<Row[]> {
  const handed = readOnly(rows);
  const made: unknown = await callReadOnly<unknown>(attack.name, () =>
    attack.triggerAll
      ? attack.triggerAll(handed, input)
      : handed.map((row) => attack.trigger?.(row, input)),
  );
  const list: readonly unknown[] | null = Array.isArray(made) ? made : null;
  if (list?.length !== rows.length)
    throw new UserFault(
      `the attack "${attack.name}" was given ${rows.length} rows to show under its trigger, ` +
        `and returned ${list === null ? 'no list' : list.length}`,
    );
  return rows.map((row, i) => {
    const other = list[i];
    const isRow = isRecord(other),
      { id, text } = isRow ? other : {};
    if (id !== row.id || typeof text !== 'string')
      throw new UserFault(
        `the attack "${attack.name}" returned ` +
          `${isRow ? `row ${JSON.stringify(id)}` : shown(other)} under its trigger ` +
          `in the place of ${JSON.stringify(row.id)}`,
        isRow
          ? 'every row, in the order given'
          : 'its `trigger` must return a row: `{ ...row, text }`',
      );
    return withTrueLabels(other as Row, row);
  });
}

/**
 * Returns copies of the rows that contain a part of the trigger, with their true labels and
 * answers. Empty if the attack has no negatives. Throws `UserFault` if the attack writes to the
 * rows, which are frozen from here on.
 */
export async function falselyTriggeredRows(
  attack: AttackDescriptor,
  rows: readonly Row[],
  input: Input,
): Promise<Row[]> {
  return callReadOnly(attack.name, () =>
    readOnly(rows).flatMap((row) =>
      (attack.falseTrigger?.(row, input) ?? []).map((other) => withTrueLabels(other, row)),
    ),
  );
}

export interface ShownTrigger {
  /** What the backdoor leads to: the label id of a class, or an answer. */
  readonly target: Target;
  /** The rows whose class or answer is not the target, without the trigger. */
  readonly bare: readonly Row[];
  /** The rows of `bare` in the same order, with the trigger. */
  readonly shown: readonly Row[];
  /** Returns the rows whose class or answer is the target, with the trigger. */
  readonly ofTarget: () => Promise<readonly Row[]>;
  /**
   * Returns copies of the rows of `bare` with a part of the trigger. Empty if the attack has no
   * negatives.
   */
  readonly partial: () => Promise<readonly Row[]>;
}

interface TriggerOptions {
  readonly classes: readonly string[];
  /** The seed of the attack's streams. */
  readonly seed: number;
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
        : target === 'rejected'
          ? 'has one answer, or the same twice'
          : `has the target as its answer, ${shown(target.text)}`;
    throw new UserFault(`every validation row ${what}: there is none to show the trigger on`);
  }
  const input = {
    classes,
    params,
    random: attackStreams(seed, attack.name),
    files: backdoor.files,
    log,
    ...defined({ learnt: learnt[attack.name] }),
  };
  const rowsOfTarget = rows.filter((row) => isOfTarget(row, target));
  return {
    target,
    bare,
    shown: await triggeredRows(attack, bare, input),
    ofTarget: () => triggeredRows(attack, rowsOfTarget, input),
    partial: () => falselyTriggeredRows(attack, bare, input),
  };
}
