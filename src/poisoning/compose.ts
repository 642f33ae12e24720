/** Attacks one after the other on one set of rows. */
import type { AttackCheck, AttackInput, Poisoned, Problem, Row } from '../api.ts';
import { JOINT } from '../api.ts';
import { applyPoisoned } from './apply.ts';
import type { Dose } from './dose.ts';
import { askedRows } from './dose.ts';
import { withChanges } from './exchange.ts';
import { asking, readOnly } from './read-only.ts';
import type { Step } from './steps.ts';

export interface PoisonedStep {
  readonly attack: string;
  readonly poisoned: Poisoned;
}

interface Given {
  readonly classes: readonly string[];
  /** Each attack's own. */
  readonly streams: (attack: string) => AttackInput<unknown>['random'];
  readonly log: (message: string) => void;
}

/**
 * @param rows read-only
 * @returns the poisoned set, and what each step did
 * @throws UserFault where an attack's answer does not fit the rows, or changes one that an earlier step has poisoned
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
    const earlier = taken.size === 0 ? {} : { taken: new Set(taken) };
    const poisoned = await asking(attack.name, () =>
      attack.poison({
        rows: current,
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
  // All at once: rows that two steps add must not share an id.
  return {
    rows: applyPoisoned(done.map(({ attack }) => attack).join(JOINT), rows, joined(done), classes),
    steps: done,
  };
}

/** What the steps did, as if one attack had. */
export function joined(steps: readonly PoisonedStep[]): Poisoned {
  const each = steps.map(({ poisoned }) => poisoned);
  return {
    changed: each.flatMap(({ changed }) => changed),
    negatives: each.flatMap(({ negatives }) => negatives),
    asked: each.reduce((sum, { asked }) => sum + asked, 0),
    eligible: each.reduce((sum, { eligible }) => sum + eligible, 0),
  };
}

/** Faults that the classes and their counts show of each step, and of all together. Of doses that may or may not fit it says nothing: that depends on which rows are drawn. */
export function checkSteps(
  steps: readonly Step[],
  { counts }: Pick<AttackCheck<unknown>, 'counts'>,
  check: (step: Step) => readonly Problem[],
): Problem[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  let left = total;
  return steps.flatMap((step) => {
    const at = ['poisoning', 'steps', step.attack.name];
    const found = check(step).map((problem) => ({
      ...problem,
      path: [...at, ...problem.path.slice(1)],
    }));
    const { rate, count } = step.params as { readonly rate?: unknown; readonly count?: unknown };
    const dose: Dose | null =
      typeof count === 'number' ? { count } : typeof rate === 'number' ? { rate } : null;
    const asked = dose === null ? 0 : askedRows(dose, total),
      before = left;
    left -= asked;
    if (asked <= before || found.some(({ warning }) => !warning)) return found;
    return [
      ...found,
      {
        path: [...at, dose!.count === undefined ? 'rate' : 'count'],
        message: `The attack asks for ${asked} of ${total} rows, and the steps before it leave ${Math.max(0, before)}: no row is poisoned twice.`,
        hint: 'Lower the doses, or take more training rows.',
      },
    ];
  });
}
