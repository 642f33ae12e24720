/** What an evaluation is asked for, and the other stages that it is compared with. */
import { isDeepStrictEqual } from 'node:util';
import {
  type AttackDescriptor,
  attackedTraining,
  attackOf,
  basesOf,
  beforeTraining,
  type Cell,
  cleanTwin,
  type DefineRequest,
  isAttacked,
  isChain,
  isOfBase,
  type JsonObject,
  type Poisoning,
  type StageDefinition,
  type StageRequest,
  startInputs,
  stepsOf,
  type TrainingRequest,
  trainingsOf,
  undefended,
  UserFault,
} from '../../../src/api.ts';
import { familyOfSteps, openSteps } from '../../../src/poisoning/steps.ts';
import { cellSplit, isTask } from '../data/splits.ts';
import { actsOn, cleanRows, judgedModel, readsClean, trainingSet } from '../shared/defended.ts';
import { learnsTrigger, learntInput } from '../shared/program-files.ts';
import { scorersOfCell } from './scoring.ts';

/** The prefix of the metrics of test rows. */
export const TEST = 'test_';
/**
 * The prefix of the inputs with metrics of a model that was poisoned only by another attack than
 * the trigger's: its rate under the trigger is reported as `trigger_rate`, not as `asr`.
 */
export const EARLY = 'early_';
/** The prefix of the inputs with metrics under triggers that training never shows. */
const HELD_OUT = 'trigger/';
/**
 * The prefix of the inputs with metrics under the trigger of another training of a chain than the
 * one whose attack the cell studies: `link/1` of training 1, after the cell's own training;
 * `link/1/after_2` after training 2.
 */
const LINK = 'link/';
/**
 * How the name of such a training's trigger begins in metrics. The training's number follows, as in
 * `asr.trigger.training_1`.
 */
const OF_TRAINING = 'training_';

interface OtherTrigger {
  readonly name: string;
  readonly isHeldOut: boolean;
  /** The training after which the trigger is shown, `after_2`; undefined after the cell's own. */
  readonly after: string | undefined;
}

/**
 * Returns the trigger, other than the evaluated one, under which an input has metrics, as the
 * input's name says. Null if the input has none under another trigger.
 */
export function otherTrigger(input: string): OtherTrigger | null {
  if (input.startsWith(HELD_OUT))
    return { name: input.slice(HELD_OUT.length), isHeldOut: true, after: undefined };
  if (!input.startsWith(LINK)) return null;
  const [training = '', after] = input.slice(LINK.length).split('/');
  return { name: OF_TRAINING + training, isHeldOut: false, after };
}

export type TaskSplit = `tasks.${string}`;
export type Split = 'validation' | 'test' | TaskSplit;

/** Returns what asks for a split in `StageRequest.with`; {} for validation, the default. */
const ofSplit = (split: Split): JsonObject => (split === 'validation' ? {} : { split });

export interface EvaluateRequest {
  /** `StageRequest.with`, from which the other fields are read. */
  readonly narrowed: JsonObject;
  readonly split: Split;
  /** The attack whose trigger is shown; null if none is. */
  readonly trigger: Poisoning | null;
  /** Whether the trigger is that of the cell's attack; false if `narrowed` gives one. */
  readonly isOwn: boolean;
  /** Whether the trigger is evaluated by itself, without earlier trainings and other rows. */
  readonly isHeldOut: boolean;
  /** The training that gives the rows' answers rewards (`firstDpoTraining`). Null if none does. */
  readonly preferences: TrainingRequest | null;
}

/** Reads what an evaluation is asked for. @param narrowed `StageRequest.with` */
export function readRequest(
  cell: Cell,
  narrowed: JsonObject,
  plugin: DefineRequest['plugin'],
): EvaluateRequest {
  const split = (narrowed['split'] ?? 'validation') as Split,
    given = narrowed['trigger'] as Poisoning | undefined;
  return {
    narrowed,
    split,
    trigger: isTask(split) ? null : (given ?? findTrigger(cell, plugin)),
    isOwn: given === undefined,
    isHeldOut: narrowed['held_out'] === true,
    preferences: firstDpoTraining(cell, split),
  };
}

export function evaluateInputs(
  cell: Cell,
  request: EvaluateRequest,
  plugin: DefineRequest['plugin'],
): StageDefinition['inputs'] {
  const { split, trigger, isOwn, isHeldOut, preferences } = request;
  const rows = (split: string): StageRequest => ({ kind: 'data', cell, with: { split } });
  const { model, start } = judgedModel(cell, plugin);
  return {
    model,
    validation: rows(split),
    // Read to check that no evaluated row is a training row.
    training: rows('train'),
    ...(split === 'test' && { selection: rows('validation') }),
    ...(isAttacked(cell) && { twin: twinOf(cell, plugin, request) }),
    ...(!isHeldOut && earlierInputs(cell, request)),
    ...(isOwn &&
      !isTask(split) && {
        ...heldOutInputs(cell, request, plugin),
        ...linkInputs(cell, split, plugin),
      }),
    ...(!isHeldOut && otherRowsInputs(cell, request)),
    ...learntInput(cell, trigger, plugin),
    ...start,
    ...(preferences && referenceInputs(preferences)),
    ...defendedInputs(cell, request, plugin),
  };
}

/**
 * Returns the first training by DPO among those that led to the cell's model. Rewards are relative
 * to the model from which this training started, since the training itself may have been poisoned.
 * Null if none is by DPO, or if the rows are not preference pairs.
 */
function firstDpoTraining(cell: Cell, split: Split): TrainingRequest | null {
  if (cell.head.type !== 'causal-lm') return null;
  if (cellSplit(cell, split).columns.rejected === undefined) return null;
  const isDpo = ({ cell: { train } }: TrainingRequest): boolean =>
    train.loss === 'dpo' && train.steps !== 0;
  return trainingsOf(cell).find(isDpo) ?? null;
}

/** Requests the model from which a training by DPO started, and the base of that model. */
function referenceInputs({ cell, ...place }: TrainingRequest): StageDefinition['inputs'] {
  const { base } = startInputs(cell);
  return {
    reference: { kind: 'train', cell: beforeTraining(cell), ...place },
    ...(base && { reference_base: base }),
  };
}

/**
 * Requests the clean twin's evaluation on the same split and with the same trigger: by default, the
 * split and trigger of the cell's own evaluation.
 */
export function twinOf(
  cell: Cell,
  plugin: DefineRequest['plugin'],
  { split, trigger, isHeldOut } = readRequest(cell, {}, plugin),
): StageRequest {
  const narrowed = {
    ...(trigger && { trigger }),
    ...ofSplit(split),
    ...(isHeldOut && { held_out: true }),
  };
  return { kind: 'evaluate', cell: cleanTwin(cell, plugin), with: narrowed };
}

/**
 * Requests the evaluations, with the cell's trigger, of the trainings before the cell's own.
 * - `before`: of the last one, if one of them is poisoned and the cell's own is not.
 * - `after_N`: of each one in a chain; `training_N`: its training rows, if it has rows of its own.
 */
function earlierInputs(
  cell: Cell,
  { split, trigger, preferences }: EvaluateRequest,
): StageDefinition['inputs'] {
  if (cell.base === undefined) return {};
  const trainings = trainingsOf(cell).slice(0, -1),
    last = trainings.at(-1);
  const hasOtherAttack = ({ cell }: TrainingRequest): boolean =>
    trigger !== null && !isDeepStrictEqual(attackOf(cell), trigger);
  /** Requests a training's evaluation under the trigger: its own one if that shows the trigger. */
  const requestEvaluation = (training: TrainingRequest): StageRequest => {
    // In the own evaluation of a training before the one that gives rewards, scorers that compare
    // rewards are a fault. With the trigger given, they are left out.
    const lacksRewards = preferences !== null && firstDpoTraining(training.cell, split) === null;
    const needsTrigger = hasOtherAttack(training) || (trigger !== null && lacksRewards);
    const narrowed = { ...(needsTrigger && { trigger }), ...ofSplit(split) };
    return { kind: 'evaluate', ...training, with: narrowed };
  };
  const inputs: { [name: string]: StageRequest } = {};
  if (last !== undefined && isOfBase(cell)) inputs['before'] = requestEvaluation(last);
  if (isChain(cell))
    for (const [i, training] of trainings.entries()) {
      // A model that only another attack has poisoned has a `trigger_rate`, and no `asr`.
      const early = hasOtherAttack(training) && isAttacked(training.cell) ? EARLY : '';
      inputs[`${early}after_${i + 1}`] = requestEvaluation(training);
      if (basesOf(cell)[i]?.data !== undefined)
        inputs[`training_${i + 1}`] = { kind: 'data', ...training, with: { split: 'train' } };
    }
  return inputs;
}

/**
 * Requests the evaluations on the test rows and on the rows of tasks. This evaluation takes over
 * their metrics.
 */
function otherRowsInputs(
  cell: Cell,
  { narrowed, split }: EvaluateRequest,
): { readonly [name: string]: StageRequest } {
  if (split !== 'validation') return {};
  const inputs: { [name: string]: StageRequest } = {};
  if (cell.data.test !== undefined)
    inputs['test'] = { kind: 'evaluate', cell, with: { ...narrowed, split: 'test' } };
  for (const name of Object.keys(cell.data.tasks ?? {})) {
    const task: TaskSplit = `tasks.${name}`;
    inputs[task] = { kind: 'evaluate', cell, with: { split: task } };
  }
  return inputs;
}

/**
 * Requests the defender's clean rows, the evaluation of the cell without its defence and, except on
 * a task's rows, what the defence's own stages found. Empty without a defence.
 */
function defendedInputs(
  cell: Cell,
  { narrowed, split }: EvaluateRequest,
  plugin: DefineRequest['plugin'],
): StageDefinition['inputs'] {
  if (cell.defence === undefined) return {};
  const always = {
    clean: cleanRows(cell),
    // Read to check that no evaluated row is among the clean rows.
    ...(cell.data.clean !== undefined &&
      readsClean(cell, plugin) && { data_clean: { kind: 'data', cell, with: { split: 'clean' } } }),
    undefended: { kind: 'evaluate', cell: undefended(cell), with: narrowed },
  };
  if (isTask(split)) return always;
  const filter = trainingSet(cell, plugin);
  return {
    ...always,
    ...(filter.kind === 'defend' && { filter }),
    ...(actsOn(cell, 'detection', plugin) && { detector: { kind: 'detect', cell } }),
  };
}

/**
 * Returns the attack on the cell if it is a backdoor, or if one of its plugins is missing. Null
 * otherwise: there is no trigger then.
 */
function findTrigger(cell: Cell, plugin: DefineRequest['plugin']): Poisoning | null {
  if (!isAttacked(cell)) return null;
  const poisoning = attackOf(cell);
  const find = (name: string) => plugin?.<AttackDescriptor>('attack', name);
  // The planner reports an attack that is missing.
  if (stepsOf(poisoning).some(({ attack }) => find(attack) === undefined)) return poisoning;
  const steps = openSteps(poisoning, (name) => find(name)!);
  return familyOfSteps(steps) === 'backdoor' ? poisoning : null;
}

/** Returns an attack's parameters in words, without its dose and `order`. */
export const triggerParams = (params: JsonObject): string =>
  Object.entries(params)
    .filter(([name]) => !['rate', 'count', 'order'].includes(name))
    .map(([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');

/**
 * Requests the evaluations under `evaluate.triggers`. Triggers of an attack that the cell does not
 * have are left out. Throws `UserFault` if a trigger can't be shown, or is the one that training
 * shows.
 */
function heldOutInputs(
  cell: Cell,
  { split, trigger: ownTrigger }: EvaluateRequest,
  plugin: DefineRequest['plugin'],
): StageDefinition['inputs'] {
  const { triggers = [] } = cell.evaluate;
  const fault = (i: number, message: string, hint: string): UserFault =>
    new UserFault(message, hint, ['evaluate', 'triggers', i]);
  if (triggers.length === 0 || !isAttacked(cell)) return {};
  const own = attackOf(cell),
    steps = stepsOf(own);
  const inputs: { [name: string]: StageRequest } = {};
  for (const [i, { name, attack, ...shown }] of triggers.entries()) {
    const step = steps.find((one) => one.attack === attack);
    if (step === undefined) continue;
    const descriptor = plugin?.<AttackDescriptor>('attack', attack);
    if (descriptor?.learns === true)
      throw fault(
        i,
        `the attack "${attack}" learns its trigger from the training rows, and has no other`,
        'Leave the trigger out.',
      );
    if (ownTrigger === null || (descriptor && !descriptor.trigger && !descriptor.triggerAll))
      throw fault(i, `the attack "${attack}" has no trigger to vary`, 'Name a backdoor.');
    const params = { ...step.params, ...(shown as JsonObject) };
    if (isDeepStrictEqual(params, step.params))
      throw fault(
        i,
        `the trigger "${name}" is the one that training shows`,
        `Give it other parameters than the attack's: ${triggerParams(step.params)}.`,
      );
    const trigger =
      steps.length === 1
        ? { attack, ...params }
        : { ...own, steps: { ...(own['steps'] as JsonObject), [attack]: params } };
    const narrowed = { trigger, ...ofSplit(split), held_out: true };
    inputs[HELD_OUT + name] = { kind: 'evaluate', cell, with: narrowed };
  }
  return inputs;
}

/**
 * Requests the evaluations under the triggers of a chain's other poisoned trainings: for each such
 * training, after that training and, unless its trigger is learnt, after each later one. Triggers
 * whose success can't be measured are left out.
 */
function linkInputs(
  cell: Cell,
  split: Split,
  plugin: DefineRequest['plugin'],
): StageDefinition['inputs'] {
  if (!isChain(cell)) return {};
  const trainings = trainingsOf(cell),
    { section } = attackedTraining(cell);
  const inputs: { [name: string]: StageRequest } = {};
  for (const [k, link] of trainings.entries()) {
    if (link.section === section || link.cell.poisoning.attack === 'none') continue;
    const trigger = findTrigger(link.cell, plugin);
    if (trigger === null || !isMeasurable(cell, trigger, plugin)) continue;
    const name = `${OF_TRAINING}${k + 1}`;
    const namesake = cell.evaluate.triggers?.findIndex((one) => one.name === name) ?? -1;
    if (namesake >= 0)
      throw new UserFault(
        `"${name}" names the trigger of another attack of the chain, that of training ${k + 1}`,
        'Give the trigger another name.',
        ['evaluate', 'triggers', namesake],
      );
    for (const [j, later] of trainings.entries()) {
      if (j < k || (j > k && learnsTrigger(trigger, plugin))) continue;
      const after = later.cell === cell ? '' : `/after_${j + 1}`,
        narrowed = j === k ? ofSplit(split) : { trigger, ...ofSplit(split), held_out: true };
      inputs[`${LINK}${k + 1}${after}`] = { kind: 'evaluate', ...later, with: narrowed };
    }
  }
  return inputs;
}

/**
 * Whether the success of `trigger`, another attack than the one that the cell studies, can be
 * measured. In a completion task, this needs both attacks to have the same target, or all scorers
 * that the spec names to read the target.
 */
function isMeasurable(cell: Cell, trigger: Poisoning, plugin: DefineRequest['plugin']): boolean {
  const { head, evaluate } = cell;
  const targetsOf = (own: Poisoning) => stepsOf(own).map(({ params }) => params['target']);
  if (head.type !== 'causal-lm' || isDeepStrictEqual(targetsOf(attackOf(cell)), targetsOf(trigger)))
    return true;
  const { find, main, further } = scorersOfCell(evaluate, trigger, plugin);
  const named = evaluate.scorer === undefined ? further : [main, ...further];
  return named.every(
    ({ settings }) => find(settings.scorer)?.reads?.(settings).includes('target') === true,
  );
}
