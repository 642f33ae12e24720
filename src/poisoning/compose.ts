/** Applies several attacks to one set of rows, one after the other. */
import type { AttackCheck, AttackInput, Poisoned, Problem, Row } from '../api.ts';
import { JOINT } from '../api.ts';
import { applyPoisoned } from './apply.ts';
import type { Dose } from './dose.ts';
import { askedRows, totalRows } from './dose.ts';
import { withChanges } from './exchange.ts';
import { asking, readOnly } from './read-only.ts';
import type { Step } from './steps.ts';

export interface PoisonedStep {
  readonly attack: string;
  readonly poisoned: Poisoned;
}

interface Given {
  readonly classes: readonly string[];
  /** The random streams of each attack. */
  readonly streams: (attack: string) => AttackInput<unknown>['random'];
  readonly log: (message: string) => void;
}

/**
 * Returns the poisoned set and what each step did. Throws `UserFault` if what an attack returns
 * does not fit the rows, or if it changes a row that an earlier step has poisoned.
 * @param rows must be frozen (`readOnly`)
 */
export async function poisonRows(
  rows: readonly Row[],
  steps: readonly Step[],
  { classes, streams, log }: Given,
): Promise<{ readonly rows: readonly Row[]; readonly steps: readonly PoisonedStep[] }> {
  const done: PoisonedStep[] = [],
    taken = new Set<number>();
  let current = rows;
  for (const { attack, params, files } of steps) {
    const given = current,
      earlier = taken.size === 0 ? {} : { taken: new Set(taken) };
    const poisoned = await asking(attack.name, () =>
      attack.poison({
        rows: given,
        classes,
        params,
        random: streams(attack.name),
        files,
        log,
        ...earlier,
      }),
    );
    applyPoisoned(attack.name, current, poisoned, classes, taken);
    current = readOnly(withChanges(current, poisoned.changed));
    for (const { index } of poisoned.changed) taken.add(index);
    done.push({ attack: attack.name, poisoned });
  }
  // All steps are applied together, because no two added rows may share an id, even across steps.
  const attacks = done.map(({ attack }) => attack).join(JOINT);
  return { rows: applyPoisoned(attacks, rows, joined(done), classes), steps: done };
}

/** Returns what the steps did as if one attack had done it all. */
export function joined(steps: readonly PoisonedStep[]): Poisoned {
  const each = steps.map(({ poisoned }) => poisoned);
  return {
    changed: each.flatMap(({ changed }) => changed),
    negatives: each.flatMap(({ negatives }) => negatives),
    asked: each.reduce((sum, { asked }) => sum + asked, 0),
    eligible: each.reduce((sum, { eligible }) => sum + eligible, 0),
  };
}

/**
 * Returns the faults that the classes and their counts reveal: those of each step, and doses that
 * together ask for more rows than there are. Doses that may or may not fit, depending on which rows
 * are drawn, are not reported.
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
    const dose = doseOf(step);
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

/** Returns the dose that a step's parameters give, or null if they give none. */
export function doseOf({ params }: Pick<Step, 'params'>): Dose | null {
  const { rate, count } = params;
  if (typeof count === 'number') return { count };
  return typeof rate === 'number' ? { rate } : null;
}
