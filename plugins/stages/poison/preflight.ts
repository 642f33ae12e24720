import { join } from 'node:path';
import {
  type AttackDescriptor,
  type AttackTarget,
  type PreflightContext,
  type Problem,
  problemOf,
  taskOf,
  type UserFault,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { isRecord, readJsonFile } from '../../../src/base/untrusted/json.ts';
import { knownCounts, type SplitCounts } from '../../../src/data/known-counts.ts';
import { checkSteps } from '../../../src/poisoning/compose.ts';
import { emptyDose, totalRows } from '../../../src/poisoning/dose.ts';
import { familyOf, targetOf } from '../../../src/poisoning/evaluation.ts';
import { backdoorOf, openSteps, type Step, taskFault } from '../../../src/poisoning/steps.ts';
import type { Params } from './index.ts';

type Context = PreflightContext<Params>;

const stepsIn = ({ params, plugin }: Context): readonly Step[] =>
  openSteps(params.poisoning, (name) => plugin<AttackDescriptor>('attack', name));

/** Returns the class that the backdoor leads to, from the receipt or from the rows. */
export async function target(context: Context, dir: string | null): Promise<AttackTarget | null> {
  const backdoor = backdoorOf(stepsIn(context));
  if (backdoor === null) return null;
  const attack = backdoor.attack.name;
  if (dir !== null) {
    const receipt: unknown = await readJsonFile(join(dir, 'receipt.json'));
    const { label, class: name } =
      isRecord(receipt) && isRecord(receipt['target']) ? receipt['target'] : {};
    return typeof label === 'number' && typeof name === 'string'
      ? { attack, label, class: name }
      : null;
  }
  const data = context.upstream?.['data'],
    rows = data === undefined ? null : await knownCounts(context, data);
  if (rows === null || taskOf(rows.classes) !== 'classes') return null;
  const label = targetOf(backdoor.attack, backdoor.params, rows.classes);
  return typeof label === 'number' ? { attack, label, class: rows.classes[label] ?? '' } : null;
}

export async function preflight(context: Context): Promise<readonly Problem[]> {
  const { upstream } = context;
  const steps = stepsIn(context);
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
