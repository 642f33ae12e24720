import {
  type AttackDescriptor,
  type PreflightContext,
  type Problem,
  problemOf,
  taskOf,
  type UserFault,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { knownCounts } from '../../../src/data/known-counts.ts';
import type { SplitCounts } from '../../../src/data/split-counts.ts';
import { checkSteps } from '../../../src/poisoning/compose.ts';
import { emptyDose, totalRows } from '../../../src/poisoning/dose.ts';
import { familyOf, targetOf } from '../../../src/poisoning/evaluation.ts';
import { backdoorOf, openSteps, type Step, taskFault } from '../../../src/poisoning/steps.ts';
import type { Params } from './index.ts';

type Context = PreflightContext<Params>;

export async function preflight(context: Context): Promise<readonly Problem[]> {
  const { params, upstream } = context;
  const steps = openSteps(params.poisoning, (name) =>
    context.plugin<AttackDescriptor>('attack', name),
  );
  try {
    backdoorOf(steps);
  } catch (error) {
    return [problemOf(error, ['poisoning', 'steps'])];
  }
  const data = upstream?.['data'];
  if (data === undefined || steps.every(({ attack }) => attack.family === 'none')) return [];
  const rows = await knownCounts(context, data);
  if (rows === null) return [];
  const [first] = steps;
  return first !== undefined && steps.length === 1
    ? faultsOf(first, rows)
    : checkSteps(steps, rows, (step) => faultsOf(step, rows));
}

function faultsOf(step: Step, rows: SplitCounts): readonly Problem[] {
  const { attack, params } = step;
  const { classes } = rows;
  const other = taskFault(step, taskOf(classes));
  if (other !== null) return [other];
  const found = attack.check
    ? attack.check({ ...checked(rows), params })
    : doseFaults(params, totalRows(rows));
  // A fault found by the attack's own check may already be about its target.
  return found.some(({ warning }) => !warning) ? found : [...targetFaults(step, classes), ...found];
}

/** Returns only what an attack's check is handed. */
const checked = ({ classes, counts, answers }: SplitCounts): SplitCounts => ({
  classes,
  counts,
  ...defined({ answers }),
});

const doseFaults = ({ rate }: Step['params'], total: number): readonly Problem[] =>
  typeof rate === 'number' ? emptyDose({ rate }, total) : [];

function targetFaults({ attack, params }: Step, classes: readonly string[]): readonly Problem[] {
  if (familyOf(attack, params) !== 'backdoor') return [];
  try {
    targetOf(attack, params, classes);
    return [];
  } catch (error) {
    return [problemOf(error, (error as UserFault).path ?? ['poisoning', 'target'])];
  }
}
