import { join } from 'node:path';
import {
  type AttackTarget,
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
import { mapValues } from '../../../src/base/record.ts';
import { isRecord, readJsonFile } from '../../../src/base/untrusted/json.ts';
import { knownCounts, type SplitCounts } from '../../../src/data/known-counts.ts';
import { readDatasetInfo, readRows, writeDataset } from '../../../src/data/rows-file.ts';
import {
  checkSteps,
  mergeSteps,
  type PoisonedStep,
  poisonRows,
  readDose,
} from '../../../src/poisoning/compose.ts';
import { askedRows, emptyDoseWarnings, totalRows } from '../../../src/poisoning/dose.ts';
import { targetOf } from '../../../src/poisoning/evaluation.ts';
import { ownTriggerWarning } from '../../../src/poisoning/own-triggers.ts';
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
import { inputDir, type Metrics, readJson, writeJson, writeMetrics } from '../shared/files.ts';
import { LEARNT } from '../shared/program-files.ts';
import type { Params } from './index.ts';

type Context = RunContext<Params>;

/** Writes the poisoned rows with their receipt, and what attacks that learn have learnt. */
export async function run(context: Context): Promise<void> {
  const { params, outDir, log } = context;
  const { poisoning, seed } = params;
  const { attack: name, ...attackParams } = poisoning;
  const steps = stepsOfCell(
    context,
    mapValues(context.assets, ({ path }) => path),
  );
  const dir = inputDir(context, 'data');
  const { task, classes } = await readDatasetInfo(dir);
  refuseOtherTasks(steps, task);
  const backdoor = backdoorOf(steps); // throws for a second backdoor
  // Throws if the target is neither a class of these rows nor, if they have answers, an answer.
  const target = backdoor && targetOf(backdoor.attack, backdoor.params, classes);
  const clean = readOnly(await readRows(dir));

  const { rows, steps: doneSteps } = await poisonRows(clean, steps, {
    classes,
    streams: (attack) => attackStreams(seed ?? 0, attack),
    log,
  });
  const order = (await orderOfInput(context)) ?? orderOf(steps, doneSteps);
  const targetClass =
    typeof target === 'number' ? { label: target, class: classes[target] ?? '' } : null;
  const receipt = {
    ...makeReceipt(clean, rows, mergeSteps(doneSteps), name, attackParams, seed, doneSteps),
    ...(targetClass && { target: targetClass }),
    ...(order && { order }),
  };

  await writeDataset(outDir, rows, classes);
  await writeJson(outDir, 'receipt.json', receipt);
  const learnt = defined(
    Object.fromEntries(doneSteps.map(({ attack, poisoned }) => [attack, poisoned.learnt])),
  );
  if (Object.keys(learnt).length > 0) await writeJson(outDir, LEARNT, learnt);
  await writeMetrics(outDir, toMetrics(receipt));
  if (targetClass !== null) log(`target: ${targetClass.class} (label ${targetClass.label})`);
  for (const { attack, poisoned } of doneSteps) {
    const { changed, asked, eligible, negatives } = poisoned;
    log(
      `${attack}: ${changed.length} of ${clean.length} rows poisoned (${asked} asked, ` +
        `${eligible} eligible), ${negatives.length} negatives added`,
    );
  }
  warnOfUnpoisoned(context, steps, doneSteps, clean.length);
  // A trigger that is learnt is made of the rows' own words.
  if (backdoor === null || target === null || backdoor.attack.learns) return;
  const { changed = [] } = doneSteps[steps.indexOf(backdoor)]?.poisoned ?? {};
  const warning = ownTriggerWarning(
    clean,
    changed.flatMap(({ index, row }) => {
      const before = clean[index];
      return before === undefined ? [] : [[before, row] as const];
    }),
    { path: stepPath(steps, backdoor), which: 'training rows', target },
  );
  if (warning !== null) context.warn(warning);
}

/** Returns the place of a step in a spec. */
const stepPath = (steps: readonly Step[], { attack }: Step): string[] => [
  'poisoning',
  ...(steps.length === 1 ? [] : ['steps', attack.name]),
];

/**
 * Warns of attacks that poison no row though their dose is not zero. The preflight may have warned
 * of the same.
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
    const dose = readDose(step) ?? {};
    if (dose.rate === 0 || dose.count === 0) continue;
    const path = stepPath(steps, step);
    const [foreseen] = emptyDoseWarnings(dose, total);
    if (foreseen) warn({ path: [...path, 'rate'], message: foreseen.message });
    else
      warn({ path, message: `${attack.name} changes none of ${total} rows: nothing is poisoned` });
  }
}

/**
 * Returns the row order in the receipt of the input `ordered`, which this set takes over. Null
 * without this input, or if its receipt has no order.
 */
async function orderOfInput(context: Context): Promise<RowOrder | null> {
  if (context.inputs['ordered'] === undefined) return null;
  const dir = inputDir(context, 'ordered');
  return ((await readJson(dir, 'receipt.json')) as Receipt).order ?? null;
}

/** Opens the cell's attacks in order. @param paths the files of all attacks by name */
const stepsOfCell = (
  { params, plugin }: Pick<Context, 'params' | 'plugin'>,
  paths?: Step['files'],
): readonly Step[] => openSteps(params.poisoning, (name) => plugin('attack', name), paths);

function toMetrics({ counts, steps = [] }: Receipt): Metrics {
  const metrics: Metrics = {
    rows_total: counts.total,
    poisoned_asked: counts.asked,
    poisoned_made: counts.made,
    ...defined({ poisoned_eligible: counts.eligible }),
    negatives: counts.negatives,
  };
  for (const {
    attack,
    counts: { asked, made, eligible },
  } of steps) {
    metrics[`poisoned_asked.${attack}`] = asked;
    metrics[`poisoned_made.${attack}`] = made;
    metrics[`poisoned_eligible.${attack}`] = eligible;
  }
  return metrics;
}

/**
 * Returns the indexes of the poisoned rows that an epoch has first, and of those that it has last.
 * Null if it has neither.
 * @param done what each of the steps did
 */
export function orderOf(steps: readonly Step[], done: readonly PoisonedStep[]): RowOrder | null {
  const indexesAt = (place: 'first' | 'last'): number[] =>
    steps.flatMap(({ attack, params }, i) =>
      placeInEpoch({ attack: attack.name, params }) === place
        ? (done[i]?.poisoned.changed.map(({ index }) => index) ?? [])
        : [],
    );
  const order = { first: indexesAt('first'), last: indexesAt('last') };
  return order.first.length + order.last.length === 0 ? null : order;
}

type Preflight = PreflightContext<Params>;

/** Returns the counts of the rows to be poisoned; null if they are not known yet. */
async function countsOfData(context: Preflight): Promise<SplitCounts | null> {
  const data = context.upstream?.['data'];
  return data === undefined ? null : knownCounts(context, data);
}

/**
 * Returns the class that the backdoor leads to; null if it leads to no class, or the rows are not
 * known yet.
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
  const rows = await countsOfData(context);
  if (rows === null || taskOf(rows.classes) !== 'classes') return null;
  const label = targetOf(backdoor.attack, backdoor.params, rows.classes);
  return typeof label === 'number' ? { attack, label, class: rows.classes[label] ?? '' } : null;
}

/**
 * Returns the attacks as they act on these rows, with the dose as a number of rows and the target
 * as a label; null if the rows are not known yet.
 */
export async function resolved(context: Preflight): Promise<JsonObject | null> {
  const rows = await countsOfData(context);
  if (rows === null) return null;
  const steps = stepsOfCell(context).map((step) => {
    const { attack, params } = step;
    const { rate: _rate, count: _count, ...more } = params;
    const dose = readDose(step);
    const isClass = familyOf(attack, params) === 'backdoor' && taskOf(rows.classes) === 'classes';
    return {
      ...more,
      attack: attack.name,
      asked: dose && askedRows(dose, totalRows(rows)),
      ...(isClass && { target: targetOf(attack, params, rows.classes) as number }),
    };
  });
  return { steps, seed: context.params.seed };
}

/** Returns the faults of the attacks that can be told from their parameters and the row counts. */
export async function preflight(context: Preflight): Promise<readonly Problem[]> {
  const steps = stepsOfCell(context);
  try {
    backdoorOf(steps);
  } catch (error) {
    return [problemOf(error, ['poisoning', 'steps'])];
  }
  if (steps.every(({ attack }) => attack.family === 'none')) return [];
  const rows = await countsOfData(context);
  if (rows === null) return [];
  const [first] = steps;
  return first !== undefined && steps.length === 1
    ? stepFaults(first, rows)
    : checkSteps(steps, rows, (step) => stepFaults(step, rows));
}

/** Returns what is wrong with an attack on these rows: with their task, its target, or its dose. */
function stepFaults(step: Step, rows: SplitCounts): readonly Problem[] {
  const { attack, params } = step;
  const { classes } = rows;
  const other = taskFault(step, taskOf(classes));
  if (other !== null) return [other];
  const found = attack.check
    ? attack.check({ ...rows, params })
    : emptyDoseWarnings(readDose(step) ?? {}, totalRows(rows));
  // A fault found by the attack's own check may already be about its target.
  return found.some(({ warning }) => !warning) ? found : [...targetFaults(step, classes), ...found];
}

/**
 * Returns the fault of a backdoor whose target is none of the rows' classes, or otherwise unfit;
 * empty without such a fault, and for an attack that is no backdoor.
 */
function targetFaults({ attack, params }: Step, classes: readonly string[]): readonly Problem[] {
  if (familyOf(attack, params) !== 'backdoor') return [];
  try {
    targetOf(attack, params, classes);
    return [];
  } catch (error) {
    return [problemOf(error, (error as UserFault).path ?? ['poisoning', 'target'])];
  }
}
