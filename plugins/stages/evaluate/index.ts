import { isDeepStrictEqual } from 'node:util';
import {
  type AttackDescriptor,
  attackOf,
  basesOf,
  beforeTraining,
  type Cell,
  cleanTwin,
  type DefineRequest,
  defineStage,
  isAttacked,
  isChain,
  isOfBase,
  type JsonObject,
  type Poisoning,
  type RunContext,
  type ScorerDescriptor,
  type StageDefinition,
  type StageRequest,
  startInputs,
  stepsOf,
  type TrainingRequest,
  trainingsOf,
  undefended,
  UserFault,
  withoutOrder,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { cellSplit, isTask } from '../data/splits.ts';
import {
  actsOn,
  cleanRows,
  defenceOf,
  type DefenceParams,
  defenceParts,
  judgedModel,
  trainingSet,
} from '../shared/defended.ts';
import { type ModelNames, modelNames, modelUses, onlyCell } from '../shared/definition.ts';
import { knownRows } from '../shared/known-rows.ts';
import { filesApart, learntInput, scorerAssets, triggerAssets } from '../shared/program-files.ts';
import {
  furtherScorersOf,
  nameOf,
  scorerOf,
  type ScorerSettings,
  type WrittenScorer,
} from './scoring.ts';
import {
  heldOutOf,
  linksOf,
  narrowedTo,
  ofSplit,
  type Split,
  type TaskSplit,
  triggerOf,
} from './triggers.ts';

/** The prefix of the metrics of test rows. */
export const TEST = 'test_';
/** The prefix of the inputs of trainings before the attack that have another one. */
export const EARLY = 'early_';
export type Params = ModelNames & {
  readonly batch_size: number;
  readonly max_length: number;
  /** Whether `max_length` comes from `train.max_length`, whose faults the train stage reports. */
  readonly inherited: boolean;
  /** The attack whose trigger is evaluated as well: `attack` and its parameters. */
  readonly trigger: Poisoning | null;
  /** Set if rows of the target class are shown with the trigger too. */
  readonly trigger_rows?: 'all';
  /** The seed of the trigger's streams and of sampling; null if there is neither. */
  readonly seed: number | null;
  /** How answers are written and scored. Absent for a classifier. */
  readonly completion?: Completion;
  /** The defence, if it rejects or cleans what the model is asked. */
  readonly defence?: DefenceParams;
  /** Set for the rows of `data.tasks`. */
  readonly split?: TaskSplit;
  /** The named data sets of the rows, of those that have metrics of their own. */
  readonly tasks?: readonly NamedTask[];
};

export type Context = RunContext<Params>;

/** A named data set, and the metrics by which it is scored, the main one first. */
type NamedTask = { readonly dataset: string; readonly metrics: readonly string[] };

export type Completion = {
  readonly max_new_tokens: number;
  /** Absent if the likeliest token is taken. */
  readonly sampling?: {
    readonly temperature: number;
    readonly top_p: number;
    readonly top_k: number;
  };
  /**
   * What counts as a success of the backdoor. Absent without a trigger, and if it compares rewards,
   * which the evaluated model has none of.
   */
  readonly scorer?: ScorerSettings;
  /** What else would count, each by its name. Absent without a trigger, and if there is none. */
  readonly scorers?: readonly ScorerSettings[];
  /** Set if PyTorch's process computes one of them, whichever backend trained. */
  readonly torch?: true;
  /** Present if a training by DPO gives the rows' answers rewards. */
  readonly rewards?: { readonly beta: number };
};

/**
 * Returns the first training by DPO that led to the cell's model: what a poisoned one taught is
 * part of the rewards after a later one. Null if there is none, or if the rows are no preference
 * pairs.
 */
function preferencesOf(cell: Cell, split: Split): TrainingRequest | null {
  if (cellSplit(cell, split).columns.rejected === undefined) return null;
  const isDpo = ({ cell: { train } }: TrainingRequest): boolean =>
    train.loss === 'dpo' && train.steps !== 0;
  return trainingsOf(cell).find(isDpo) ?? null;
}

/** The fault of a scorer that reads rewards where no training gives any. */
const noRewards = ({ settings }: WrittenScorer, split: Split): UserFault =>
  new UserFault(
    `the scorer "${settings.scorer}" compares the rewards of a preference pair's answers, which a ` +
      'training by DPO gives',
    `Write train.loss: dpo and name the columns chosen and rejected of data.${split}, or score ` +
      'what the model writes: evaluate.scorer: contains.',
    ['evaluate', 'scorer'],
  );

/** What a cell says of its answers, the files of its scorers as assets, and what is in no key. */
function completionOf(
  cell: Cell,
  split: Split,
  { trigger, isOwn }: { readonly trigger: Poisoning | null; readonly isOwn: boolean },
  plugin: DefineRequest['plugin'],
): { readonly completion?: Completion } & Pick<StageDefinition, 'assets' | 'limits'> {
  const { head, evaluate } = cell,
    triggered = trigger !== null;
  if (head.type !== 'causal-lm') return { assets: {} };
  const { max_new_tokens, sampling } = evaluate;
  const find = (name: string) => plugin?.<ScorerDescriptor>('scorer', name);
  const readsRewards = ({ settings }: WrittenScorer): boolean =>
    find(settings.scorer)?.rewards === true;
  const [own] = (trigger === null ? [] : stepsOf(trigger)).flatMap(
    ({ attack }) => plugin?.<AttackDescriptor>('attack', attack)?.scorer ?? [],
  );
  const preferences = preferencesOf(cell, split);
  const named = scorerOf(evaluate, find, own),
    alsoNamed = furtherScorersOf(evaluate, find, named);
  const unrewarded = preferences === null ? [named, ...alsoNamed].find(readsRewards) : undefined;
  if (triggered && isOwn && unrewarded !== undefined) throw noRewards(unrewarded, split);
  // An evaluation for another cell, as of a training before that by DPO, is without such scorers.
  const has = (scorer: WrittenScorer): boolean => preferences !== null || !readsRewards(scorer);
  const main = has(named) ? named : null,
    further = alsoNamed.filter(has),
    all = [...(main === null ? [] : [main]), ...further];
  const completion = {
    max_new_tokens,
    ...(sampling === undefined
      ? {}
      : { sampling: { temperature: 1, top_p: 1, top_k: 0, ...sampling } }),
    ...(preferences === null ? {} : { rewards: { beta: preferences.cell.train.dpo_beta } }),
  };
  if (!triggered) return { completion, assets: {} };
  const isTorch = all.some(({ settings: { scorer } }) => find(scorer)?.torch === true);
  const limits = all.flatMap(({ settings, limits: own }) =>
    own === undefined ? [] : [[nameOf(settings), own] as const],
  );
  return {
    completion: {
      ...completion,
      ...(main === null ? {} : { scorer: main.settings }),
      ...(further.length > 0 ? { scorers: further.map(({ settings }) => settings) } : {}),
      ...(isTorch ? { torch: true } : {}),
    },
    assets: further.reduce(
      (known, { settings, files }) => ({ ...known, ...scorerAssets(files, nameOf(settings)) }),
      main === null ? {} : scorerAssets(main.files),
    ),
    ...(limits.length === 0 ? {} : { limits: { scorers: Object.fromEntries(limits) } }),
  };
}

/** Requests the model that a training by DPO started from, and what is needed to open it. */
function referenceOf({ cell, ...place }: TrainingRequest): StageDefinition['inputs'] {
  const { base } = startInputs(cell);
  return {
    reference: { kind: 'train', cell: beforeTraining(cell), ...place },
    ...(base === undefined ? {} : { reference_base: base }),
  };
}

/** Returns all scorers of a stage, `scorer` first. */
const scorersIn = ({ scorer, scorers = [] }: Partial<Completion> = {}): ScorerSettings[] => [
  ...(scorer === undefined ? [] : [scorer]),
  ...scorers,
];

/**
 * Requests the clean twin's evaluation: with the same trigger if there is one, and otherwise the
 * one that the twin has anyway. The rows of a task have none.
 */
export function twinOf(
  cell: Cell,
  split: Split,
  plugin: DefineRequest['plugin'],
  trigger = triggerOf(cell, plugin),
  more: JsonObject = {},
): StageRequest {
  return {
    kind: 'evaluate',
    cell: cleanTwin(cell, plugin),
    ...narrowedTo({ ...(trigger === null ? {} : { trigger }), ...ofSplit(split), ...more }),
  };
}

/**
 * Requests the evaluations of the trainings before the cell's own, with its trigger: of the last
 * one if one of them is poisoned, which shows what the attack did before this training, and of all
 * in a chain. There, the rows of each are compared with the evaluated ones, too.
 */
function beforeOf(cell: Cell, split: Split, trigger: Poisoning | null): StageDefinition['inputs'] {
  if (cell.base === undefined) return {};
  const trainings = trainingsOf(cell).slice(0, -1),
    last = trainings.at(-1),
    hasRewards = preferencesOf(cell, split) !== null;
  const isBefore = ({ cell }: TrainingRequest): boolean =>
    trigger !== null && !isDeepStrictEqual(attackOf(cell), trigger);
  const evaluated = (training: TrainingRequest): StageRequest => {
    // One before any rewards is evaluated for this cell alone, without the scorers of rewards.
    const lacksRewards = hasRewards && preferencesOf(training.cell, split) === null;
    const isOther = isBefore(training) || (trigger !== null && lacksRewards);
    const narrowed = { ...(isOther ? { trigger } : {}), ...ofSplit(split) };
    return { kind: 'evaluate', ...training, ...narrowedTo(narrowed) };
  };
  const inputs: { [name: string]: StageRequest } = {};
  if (last !== undefined && isOfBase(cell)) inputs['before'] = evaluated(last);
  if (isChain(cell))
    for (const [i, training] of trainings.entries()) {
      // Attacked, but by another attack: what the trigger does there is no success.
      const early = isBefore(training) && isAttacked(training.cell) ? EARLY : '';
      inputs[`${early}after_${i + 1}`] = evaluated(training);
      if (basesOf(cell)[i]?.data !== undefined)
        inputs[`training_${i + 1}`] = { kind: 'data', ...training, with: { split: 'train' } };
    }
  return inputs;
}

/** Requests the evaluations on test rows and on those of tasks, whose metrics are taken over. */
function othersOf(
  cell: Cell,
  narrowed: DefineRequest['with'],
  split: Split,
): { readonly [name: string]: StageRequest } {
  if (split !== 'validation' || narrowed['held_out'] === true) return {};
  const { test, tasks = {} } = cell.data;
  const on = (split: Split, narrowed: JsonObject = {}): StageRequest => ({
    kind: 'evaluate',
    cell,
    with: { ...narrowed, split },
  });
  const names = Object.keys(tasks).map((name): TaskSplit => `tasks.${name}`);
  return {
    ...(test === undefined ? {} : { test: on('test', narrowed) }),
    ...Object.fromEntries(names.map((name) => [name, on(name)])),
  };
}

/** Returns the defence if it rejects or cleans what the model is asked; null otherwise. */
function inputsDefence(
  cell: Cell,
  plugin: DefineRequest['plugin'],
): ReturnType<typeof defenceParts> | null {
  const defence = defenceOf(cell, plugin);
  return defence?.acts.has('inputs') === true ? defenceParts(defence) : null;
}

const NO_SUCCESS = new UserFault(
  "a backdoor's success is counted by classes or answers, and head.type is regression",
  'Leave out the attack.',
  ['poisoning', 'attack'],
);

/** Returns the data sets of the rows that `metrics.json` is about, with their metrics in it. */
function tasksOf(
  { data }: Cell,
  split: Split,
  plugin: DefineRequest['plugin'],
): { readonly tasks?: readonly NamedTask[] } {
  const others = Object.entries(data.tasks ?? {});
  const own = [[cellSplit({ data }, split), ''] as const],
    also =
      split === 'validation'
        ? [[data.test, TEST] as const, ...others.map(([name, rows]) => [rows, `${name}.`] as const)]
        : [];
  const tasks = [...own, ...also].flatMap(([rows, prefix]): NamedTask[] => {
    const { metrics = [] } = (rows === undefined ? null : knownRows(rows, plugin)) ?? {};
    return rows === undefined || metrics.length === 0
      ? []
      : [{ dataset: rows.format, metrics: metrics.map((name) => prefix + name) }];
  });
  return tasks.length === 0 ? {} : { tasks };
}

/**
 * Requests what a cell with a defence is compared with: the same cell without it, on the same rows,
 * and what the defence's own stages found.
 */
function defendedInputs(
  cell: Cell,
  narrowed: DefineRequest['with'],
  plugin: DefineRequest['plugin'],
): StageDefinition['inputs'] {
  if (cell.defence === undefined) return {};
  const filtered = trainingSet(cell, plugin);
  const evaluated = { kind: 'evaluate', cell: undefended(cell) };
  const compared = {
    clean: cleanRows(cell),
    undefended: { ...evaluated, ...narrowedTo(narrowed) },
  };
  if (typeof narrowed['split'] === 'string' && isTask(narrowed['split'])) return compared;
  return {
    ...compared,
    ...(filtered.kind === 'defend' ? { filter: filtered } : {}),
    ...(actsOn(cell, 'detection', plugin) ? { detector: { kind: 'detect', cell } } : {}),
  };
}

export default defineStage<Params>({
  name: 'evaluate',
  summary:
    'Scores the trained model on the validation rows, and under the trigger of a backdoor on ' +
    'the rows of other classes; the same of the test rows, if there are any, and the scores of ' +
    'the rows of further tasks.',
  compute: true,
  torch: true,
  scope: 'cell',
  define(cells, { with: narrowed, plugin }) {
    const cell = onlyCell(cells);
    const split = (narrowed['split'] ?? 'validation') as Split;
    const ofTask = isTask(split);
    const heldOut: JsonObject = narrowed['held_out'] === true ? { held_out: true } : {};
    const written = ofTask
      ? null
      : ((narrowed['trigger'] as Poisoning | undefined) ?? triggerOf(cell, plugin));
    const { poisoning: trigger, assets: files } =
      written === null ? { poisoning: null, assets: {} } : filesApart(withoutOrder(written));
    if (trigger !== null && cell.head.type === 'regression') throw NO_SUCCESS;
    const steps = trigger === null ? [] : stepsOf(trigger);
    const answers = completionOf(
        cell,
        split,
        { trigger, isOwn: narrowed['trigger'] === undefined },
        plugin,
      ),
      { completion } = answers;
    const preferences = completion?.rewards && preferencesOf(cell, split);
    const { trigger_rows: rowsShown } = cell.evaluate;
    const judged = judgedModel(cell, plugin);
    const defence = inputsDefence(cell, plugin);
    const draws = trigger !== null || completion?.sampling !== undefined || defence !== null;
    return {
      params: {
        ...modelNames(cell),
        adapter: judged.adapter,
        batch_size: cell.evaluate.batch_size,
        max_length: cell.evaluate.max_length ?? cell.train.max_length,
        inherited: cell.evaluate.max_length === undefined,
        trigger,
        ...(trigger !== null && completion === undefined && rowsShown === 'all'
          ? { trigger_rows: rowsShown }
          : {}),
        seed: draws ? cell.seed : null,
        ...defined({ completion }),
        ...(defence === null ? {} : { defence: defence.params }),
        ...(ofTask ? { split } : {}),
        ...tasksOf(cell, split, plugin),
      },
      inputs: {
        model: judged.model,
        validation: { kind: 'data', cell, with: { split } },
        // The rows that the evaluated ones should not be among.
        training: { kind: 'data', cell, with: { split: 'train' } },
        ...(split === 'test'
          ? { selection: { kind: 'data', cell, with: { split: 'validation' } } }
          : {}),
        ...(isAttacked(cell) ? { twin: twinOf(cell, split, plugin, written, heldOut) } : {}),
        // Trainings before are evaluated under the trigger that they learnt.
        ...(narrowed['held_out'] === true ? {} : beforeOf(cell, split, written)),
        ...(narrowed['trigger'] === undefined && !ofTask
          ? { ...heldOutOf(cell, trigger, split, plugin), ...linksOf(cell, split, plugin) }
          : {}),
        ...othersOf(cell, narrowed, split),
        ...learntInput(cell, written, plugin),
        ...judged.start,
        ...(preferences ? referenceOf(preferences) : {}),
        ...defendedInputs(cell, narrowed, plugin),
      },
      assets: {
        model: cell.model.source,
        ...triggerAssets(files),
        ...answers.assets,
        ...(defence?.assets ?? {}),
      },
      uses: [
        ...modelUses(cell, [
          judged.adapter,
          ...(preferences ? [preferences.cell.adapter.type] : []),
        ]),
        ...steps.map(({ attack }) => ({ kind: 'attack' as const, name: attack })),
        ...scorersIn(completion).map(({ scorer }) => ({
          kind: 'scorer' as const,
          name: scorer,
        })),
        ...(defence?.uses ?? []),
      ],
      ...defined({ limits: answers.limits }),
    };
  },
  resources: () => ({ cpu: 1 }),
  python: ({ completion }) => (completion?.torch === true ? ['torch'] : []),
  calls: async (context) => (await import('./preflight.ts')).serviceCalls(context),
  preflight: async (context) => (await import('./preflight.ts')).preflight(context),
  run: async (context) => (await import('./run.ts')).run(context),
});
