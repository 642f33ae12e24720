import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type AttackDescriptor,
  type AttackTarget,
  type Json,
  type JsonObject,
  placeInEpoch,
  type PreflightContext,
  type Problem,
  problemOf,
  type RunContext,
  taskOf,
  type UserFault,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { attackStreams } from '../../../src/base/random.ts';
import { isRecord, readJsonFile } from '../../../src/base/untrusted/json.ts';
import { knownCounts, type SplitCounts } from '../../../src/data/known-counts.ts';
import { readDatasetInfo, readRows, writeDataset } from '../../../src/data/rows-file.ts';
import {
  checkSteps,
  doseOf,
  mergeSteps,
  type PoisonedStep,
  poisonRows,
} from '../../../src/poisoning/compose.ts';
import { askedRows, emptyDoseWarnings, totalRows } from '../../../src/poisoning/dose.ts';
import { targetOf } from '../../../src/poisoning/evaluation.ts';
import { readOnly } from '../../../src/poisoning/read-only.ts';
import { makeReceipt, type Receipt, type RowOrder } from '../../../src/poisoning/receipt.ts';
import {
  backdoorOf,
  familyOf,
  openSteps,
  refuseOtherTasks,
  type Step,
  taskFault,
} from '../../../src/poisoning/steps.ts';
import { inputDir, type Metrics, writeJson, writeMetrics } from '../shared/files.ts';
import { LEARNT } from '../shared/program-files.ts';
import type { Params } from './index.ts';

type Context = RunContext<Params>;

/** Writes the poisoned rows with their receipt, and what the attacks have learnt from the rows. */
export async function run(context: Context): Promise<void> {
  const { params, outDir, log } = context;
  const { poisoning, seed } = params;
  const { attack: name, ...attackParams } = poisoning;
  const files = Object.entries(context.assets).map(([file, { path }]) => [file, path]);
  const steps = stepsOfCell(context, Object.fromEntries(files) as Step['files']);
  const dir = inputDir(context, 'data');
  const { task, classes } = await readDatasetInfo(dir);
  refuseOtherTasks(steps, task);
  const backdoor = backdoorOf(steps); // throws for a second backdoor
  const target = backdoor && targetOf(backdoor.attack, backdoor.params, classes); // or throws
  const clean = readOnly(await readRows(dir));

  const { rows, steps: doneSteps } = await poisonRows(clean, steps, {
    classes,
    streams: (attack) => attackStreams(seed ?? 0, attack),
    log,
  });
  const order = (await orderOfInput(context)) ?? orderOf(steps, doneSteps);
  const receipt = {
    ...makeReceipt(clean, rows, mergeSteps(doneSteps), name, attackParams, seed, doneSteps),
    ...(typeof target === 'number'
      ? { target: { label: target, class: classes[target] ?? '' } }
      : {}),
    ...(order === null ? {} : { order }),
  };

  await writeDataset(outDir, rows, classes);
  await writeJson(outDir, 'receipt.json', receipt);
  const learnt = doneSteps.flatMap(({ attack, poisoned }): [string, Json][] =>
    poisoned.learnt === undefined ? [] : [[attack, poisoned.learnt]],
  );
  if (learnt.length > 0) await writeJson(outDir, LEARNT, Object.fromEntries(learnt));
  await writeMetrics(outDir, metricsOf(receipt));
  if (typeof target === 'number') log(`target: ${classes[target] ?? ''} (label ${target})`);
  for (const { attack, poisoned } of doneSteps) {
    const { changed, asked, eligible, negatives } = poisoned;
    log(
      `${attack}: ${changed.length} of ${clean.length} rows poisoned (${asked} asked, ` +
        `${eligible} eligible), ${negatives.length} negatives added`,
    );
  }
  warnOfUnpoisoned(context, steps, doneSteps, clean.length);
}

/**
 * Warns of attacks that poison no row though their dose is not zero, with the message of the
 * preflight if that could foresee it.
 */
function warnOfUnpoisoned(
  { warn }: Context,
  steps: readonly Step[],
  done: readonly PoisonedStep[],
  total: number,
): void {
  for (const [i, step] of steps.entries()) {
    const { attack, params } = step;
    if (familyOf(attack, params) === 'none' || done[i]?.poisoned.changed.length !== 0) continue;
    const at = ['poisoning', ...(steps.length === 1 ? [] : ['steps', attack.name])];
    const dose = doseOf(step) ?? {};
    if (dose.rate === 0 || dose.count === 0) continue;
    const [foreseen] = emptyDoseWarnings(dose, total);
    warn(
      foreseen === undefined
        ? { path: at, message: `${attack.name} changes none of ${total} rows: nothing is poisoned` }
        : { path: [...at, 'rate'], message: foreseen.message },
    );
  }
}

/** Returns the row order of the input `ordered`, which this set takes over; null without it. */
async function orderOfInput(context: Context): Promise<RowOrder | null> {
  if (context.inputs['ordered'] === undefined) return null;
  const file = join(inputDir(context, 'ordered'), 'receipt.json');
  return (JSON.parse(await readFile(file, 'utf8')) as Receipt).order ?? null;
}

/** Opens the cell's attacks in order. @param paths the files of all attacks by name */
const stepsOfCell = (
  { params, plugin }: Pick<Context, 'params' | 'plugin'>,
  paths: Step['files'] = {},
): readonly Step[] =>
  openSteps(params.poisoning, (name) => plugin<AttackDescriptor>('attack', name), paths);

function metricsOf({ counts, steps = [] }: Receipt): Metrics {
  const ofSteps = steps.flatMap(({ attack, counts: { asked, made, eligible } }) => [
    [`poisoned_asked.${attack}`, asked] as const,
    [`poisoned_made.${attack}`, made] as const,
    [`poisoned_eligible.${attack}`, eligible] as const,
  ]);
  return {
    rows_total: counts.total,
    poisoned_asked: counts.asked,
    poisoned_made: counts.made,
    ...defined({ poisoned_eligible: counts.eligible }),
    negatives: counts.negatives,
    ...Object.fromEntries(ofSteps),
  };
}

/**
 * Returns the indexes of the rows that an epoch has first and last, or null if no step asks for
 * that. Rows that an attack appends are spread over all batches in any order.
 * @param done what each of the steps did
 */
export function orderOf(steps: readonly Step[], done: readonly PoisonedStep[]): RowOrder | null {
  const indexesAt = (place: 'first' | 'last'): number[] =>
    steps.flatMap(({ attack, params }, i) =>
      placeInEpoch({ attack: attack.name, params }) === place
        ? (done[i]?.poisoned.changed.map(({ index }) => index) ?? [])
        : [],
    );
  const [first, last] = [indexesAt('first'), indexesAt('last')];
  return first.length + last.length === 0 ? null : { first, last };
}

type Preflight = PreflightContext<Params>;

/**
 * Returns the class that the backdoor leads to; null if none does, or the rows are not known yet.
 * @param dir the stage's output, whose receipt says it; null before the stage has run
 */
export async function target(context: Preflight, dir: string | null): Promise<AttackTarget | null> {
  const backdoor = backdoorOf(stepsOfCell(context));
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

/**
 * Returns the attacks as they act on these rows, with the dose as a number of rows and the target
 * as a label; null if the rows are not known yet.
 */
export async function resolved(context: Preflight): Promise<JsonObject | null> {
  const data = context.upstream?.['data'],
    rows = data === undefined ? null : await knownCounts(context, data);
  if (rows === null) return null;
  const steps = stepsOfCell(context).map((step) => {
    const { attack, params } = step;
    const { rate: _rate, count: _count, ...more } = params;
    const dose = doseOf(step);
    const isClass = familyOf(attack, params) === 'backdoor' && taskOf(rows.classes) === 'classes';
    return {
      ...more,
      attack: attack.name,
      asked: dose && askedRows(dose, totalRows(rows)),
      ...(isClass ? { target: targetOf(attack, params, rows.classes) as number } : {}),
    };
  });
  return { steps, seed: context.params.seed };
}

/** Returns the faults of the attacks that can be told from their parameters and the row counts. */
export async function preflight(context: Preflight): Promise<readonly Problem[]> {
  const { upstream } = context;
  const steps = stepsOfCell(context);
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
    ? stepFaults(first, rows)
    : checkSteps(steps, rows, (step) => stepFaults(step, rows));
}

/** Returns what is wrong with an attack on these rows: their task, its target, or its dose. */
function stepFaults(step: Step, rows: SplitCounts): readonly Problem[] {
  const { attack, params } = step;
  const { classes } = rows;
  const other = taskFault(step, taskOf(classes));
  if (other !== null) return [other];
  const found = attack.check
    ? attack.check({ ...rows, params })
    : emptyDoseWarnings(doseOf(step) ?? {}, totalRows(rows));
  // A fault found by the attack's own check may already be about its target.
  return found.some(({ warning }) => !warning) ? found : [...targetFaults(step, classes), ...found];
}

/** Returns a fault if a backdoor leads to a class that the rows do not have. */
function targetFaults({ attack, params }: Step, classes: readonly string[]): readonly Problem[] {
  if (familyOf(attack, params) !== 'backdoor') return [];
  try {
    targetOf(attack, params, classes);
    return [];
  } catch (error) {
    return [problemOf(error, (error as UserFault).path ?? ['poisoning', 'target'])];
  }
}
