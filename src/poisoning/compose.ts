/** Applies several attacks to one set of rows, one after the other. */
import {
  type AttackCheck,
  type AttackInput,
  JOINT,
  type Poisoned,
  type Problem,
  type Row,
  taskOf,
  UserFault,
} from '../api.ts';
import { isRecord } from '../base/untrusted/json.ts';
import { isContext } from '../data/messages.ts';
import { askedRows, type Dose, totalRows } from './dose.ts';
import { withChanges } from './exchange.ts';
import { callReadOnly, readOnly } from './read-only.ts';
import type { Step } from './steps.ts';

export interface PoisonedStep {
  readonly attack: string;
  readonly poisoned: Poisoned;
}

/**
 * Returns the poisoned set and what each step did. Throws `UserFault` if what an attack returns
 * does not fit the rows, or if it changes a row that an earlier step has poisoned.
 * @param rows must be frozen (`readOnly`)
 */
export async function poisonRows(
  rows: readonly Row[],
  steps: readonly Step[],
  {
    classes,
    streams,
    log,
  }: {
    readonly classes: readonly string[];
    /** Returns the random streams of an attack, by its name. */
    readonly streams: (attack: string) => AttackInput<unknown>['random'];
    readonly log: (message: string) => void;
  },
): Promise<{ readonly rows: readonly Row[]; readonly steps: readonly PoisonedStep[] }> {
  const done: PoisonedStep[] = [],
    taken = new Set<number>();
  let current = rows;
  for (const { attack, params, files } of steps) {
    const given = { rows: current, classes, params, random: streams(attack.name), files, log },
      input = taken.size === 0 ? given : { ...given, taken: new Set(taken) };
    const poisoned = await callReadOnly(attack.name, () => attack.poison(input));
    applyPoisoned(attack.name, current, poisoned, classes, taken);
    current = readOnly(withChanges(current, poisoned.changed));
    for (const { index } of poisoned.changed) taken.add(index);
    done.push({ attack: attack.name, poisoned });
  }
  // All steps together are applied once more, to check that no two added rows share an id, even
  // across steps.
  const attacks = done.map(({ attack }) => attack).join(JOINT);
  return { rows: applyPoisoned(attacks, rows, mergeSteps(done), classes), steps: done };
}

/** Joins what the steps did, as if one attack had done it all. */
export function mergeSteps(steps: readonly PoisonedStep[]): Poisoned {
  const each = steps.map(({ poisoned }) => poisoned);
  return {
    changed: each.flatMap(({ changed }) => changed),
    negatives: each.flatMap(({ negatives }) => negatives),
    asked: each.reduce((sum, { asked }) => sum + asked, 0),
    eligible: each.reduce((sum, { eligible }) => sum + eligible, 0),
  };
}

/**
 * Returns the faults of each step alone, and one for each dose that asks for more rows than the
 * steps before it leave, unless its step already has a fault. A dose that may or may not fit,
 * depending on which rows are drawn, is not reported.
 * @param check returns the faults and warnings of one step alone
 */
export function checkSteps(
  steps: readonly Step[],
  rows: Pick<AttackCheck<unknown>, 'counts' | 'answers'>,
  check: (step: Step) => readonly Problem[],
): Problem[] {
  const total = totalRows(rows);
  let left = total;
  return steps.flatMap((step) => {
    const at = ['poisoning', 'steps', step.attack.name];
    const found = check(step).map((problem) => ({
      ...problem,
      path: [...at, ...problem.path.slice(1)],
    }));
    const dose = readDose(step);
    if (dose === null) return found;
    const asked = askedRows(dose, total),
      before = left;
    left -= asked;
    if (asked <= before || found.some(({ warning }) => warning !== true)) return found;
    return [
      ...found,
      {
        path: [...at, dose.count === undefined ? 'rate' : 'count'],
        message:
          `The attack asks for ${asked} of ${total} rows, and the steps before it leave ` +
          `${Math.max(0, before)}: no row is poisoned twice.`,
        hint: 'Lower the doses, or take more training rows.',
      },
    ];
  });
}

/**
 * Returns the dose in a step's parameters: its `count` or, without one, its `rate`. Null if neither
 * is a number, as for an attack without a dose.
 */
export function readDose({ params }: Pick<Step, 'params'>): Dose | null {
  const { rate, count } = params;
  if (typeof count === 'number') return { count };
  return typeof rate === 'number' ? { rate } : null;
}

/**
 * Returns the rows with those in `changed` replaced and `negatives` appended. Throws `UserFault` if
 * what the attack returned does not fit the rows, or changes a row in `taken`.
 * @param taken indexes of the rows that earlier steps have poisoned
 */
export function applyPoisoned(
  attack: string,
  rows: readonly Row[],
  poisoned: Poisoned,
  classes: readonly string[],
  taken: ReadonlySet<number> = new Set(),
): Row[] {
  const fault = poisonedFault(rows, poisoned, classes);
  if (fault !== null)
    throw new UserFault(
      `The attack "${attack}" ${fault}.`,
      'What `poison` of an attack returns is `Poisoned` in src/api/attack.ts of the package; ' +
        'docs/guides/own-attack.md has an example.',
    );
  const twice = poisoned.changed.find(({ index }) => taken.has(index));
  if (twice !== undefined) {
    throw new UserFault(
      `The attack "${attack}" changed row ${twice.row.id}, which an earlier step had poisoned.`,
      'An attack that comes after another one must not change the rows in `taken` ' +
        `(AttackInput in src/api/attack.ts): let "${attack}" be the first step, or read ` +
        '`taken` in it.',
    );
  }
  return [...withChanges(rows, poisoned.changed), ...poisoned.negatives];
}

const isCount = (value: unknown): value is number => Number.isInteger(value) && Number(value) >= 0;

/**
 * Returns the first fault of what an attack returned, worded to follow "The attack …"; null if
 * there is none.
 */
function poisonedFault(
  rows: readonly Row[],
  poisoned: unknown,
  classes: readonly string[],
): string | null {
  if (!isRecord(poisoned)) return 'did not return an object';
  const { changed, negatives, asked, eligible } = poisoned;
  if (!Array.isArray(changed) || !Array.isArray(negatives))
    return 'did not return lists `changed` and `negatives`';
  if (!isCount(asked) || !isCount(eligible))
    return 'did not return whole numbers `asked` and `eligible`';
  if (changed.length !== asked) return `was asked for ${asked} rows and changed ${changed.length}`;
  return changedFault(rows, changed, classes) ?? negativesFault(rows, negatives, classes);
}

/** Returns the first fault of `changed`, worded as by `poisonedFault`; null if there is none. */
function changedFault(
  rows: readonly Row[],
  changed: readonly unknown[],
  classes: readonly string[],
): string | null {
  const seen = new Set<number>();
  for (const change of changed) {
    const { index, row } = isRecord(change) ? change : {};
    const original = typeof index === 'number' ? rows[index] : undefined;
    if (typeof index !== 'number' || original === undefined)
      return `changed row ${String(index)}, but there are rows 0 to ${rows.length - 1}`;
    if (seen.has(index)) return `changed row ${index} twice`;
    seen.add(index);
    if (!isRow(row, classes)) return `made of row ${original.id} ${rowFault(row, classes)}`;
    if (row.id !== original.id) return `renamed row ${original.id} to ${row.id}`;
    if ((row.text_pair === undefined) !== (original.text_pair === undefined))
      return `added or removed the second text of row ${original.id}`;
  }
  return null;
}

/** Returns the first fault of `negatives`, worded as by `poisonedFault`; null if there is none. */
function negativesFault(
  rows: readonly Row[],
  negatives: readonly unknown[],
  classes: readonly string[],
): string | null {
  const ids = new Set(rows.map((row) => row.id));
  for (const negative of negatives) {
    if (!isRow(negative, classes)) return `added as a negative ${rowFault(negative, classes)}`;
    const { id } = negative;
    if (ids.has(id)) return `added a negative under the id ${id}, which is taken`;
    ids.add(id);
  }
  return null;
}

const isRow = (row: unknown, classes: readonly string[]): row is Row =>
  rowFault(row, classes) === '';

/** Returns what a value is instead of a row (`a row without an id`), or '' if it is one. */
function rowFault(row: unknown, classes: readonly string[]): string {
  if (!isRecord(row)) return 'something that is not a row';
  const { id, text, text_pair: pair, label, answer, context } = row;
  if (typeof id !== 'string') return 'a row without an id';
  if (typeof text !== 'string') return 'a row without a text';
  if (pair !== undefined && typeof pair !== 'string') return 'a row whose `text_pair` is not text';
  if (taskOf(classes) === 'completion') {
    if (typeof answer !== 'string') return 'a row without an answer';
    if (context !== undefined && !isContext(context))
      return 'a row whose `context` is not a list of messages';
    return label === 0 ? '' : 'a row with a label, but there are no classes';
  }
  if (answer !== undefined || context !== undefined) return 'a row with an answer or a context';
  if (taskOf(classes) === 'regression')
    return Number.isFinite(label) ? '' : `a row with label ${String(label)}, which is not a number`;
  if (!isCount(label) || label >= classes.length)
    return `a row with label ${String(label)}, but the labels are 0 to ${classes.length - 1}`;
  return '';
}
