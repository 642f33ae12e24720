/**
 * What a cell's defence changes in its stages: the rows that it is trained on, the model that is
 * judged. Planning loads this file, so it must not import numerics.
 */
import {
  beforeTraining,
  type Cell,
  type DefenceDescriptor,
  type DefenceHook,
  type DefenceMoment,
  type DefineRequest,
  type HeldWeights,
  heldWeights,
  type Json,
  type JsonObject,
  momentsOf,
  partsOf,
  type PreflightContext,
  type Problem,
  type StageDefinition,
  type StageRequest,
  startInputs,
  type TrainingLength,
  undefended,
  UserFault,
} from '../../../src/api.ts';
import { type ModelNames, modelNames, modelUses } from './definition.ts';

type Plugin = DefineRequest['plugin'];

/** A cell's defence as it appears in the parameters of a stage: without its sources. */
export type DefenceParams = { readonly defence: string } & JsonObject;

interface CellDefence {
  readonly name: string;
  readonly descriptor: DefenceDescriptor;
  readonly params: JsonObject;
  readonly acts: ReadonlySet<DefenceMoment>;
}

/**
 * Returns the cell's defence with its code; null if there is none, or no plugin of this name.
 * @throws UserFault if the defence is not for the cell's task
 */
export function defenceOf(cell: Cell, plugin: Plugin): CellDefence | null {
  if (cell.defence === undefined) return null;
  const { defence: name, ...params } = cell.defence;
  const descriptor = plugin?.<DefenceDescriptor>('defence', name);
  if (descriptor === undefined) return null;
  const acts = momentsOf(descriptor, params),
    has = partsOf(descriptor);
  const idle = acts.find((moment) => !has.includes(moment));
  if (idle !== undefined)
    throw new Error(`the defence "${name}" says that it acts on ${idle}, and has no such part`);
  if (cell.head.type === 'regression')
    throw new UserFault(
      `the defence "${name}" is for attacks on classes or answers, and head.type is regression`,
      'Leave out the defence.',
      ['defence', 'defence'],
    );
  const task = cell.head.type === 'causal-lm' ? 'completion' : 'classes';
  if (!(descriptor.tasks ?? ['classes']).includes(task))
    throw new UserFault(
      task === 'classes'
        ? `the defence "${name}" is for prompts and answers, and the rows are labelled texts`
        : `the defence "${name}" is for labelled texts, and the rows are prompts and answers`,
      '`dosimeter plugins NAME` names the tasks of a defence.',
      ['defence', 'defence'],
    );
  return { name, descriptor, params, acts: new Set(acts) };
}

/** Whether the cell's defence acts at this moment. */
export const actsOn = (cell: Cell, moment: DefenceMoment, plugin: Plugin): boolean =>
  defenceOf(cell, plugin)?.acts.has(moment) === true;

type HookMoment = Exclude<DefenceMoment, 'training'>;

/** Returns the part of a defence that acts at a moment; undefined if it has none. */
const hookOf = (
  descriptor: DefenceDescriptor,
  moment: HookMoment,
): DefenceHook<unknown, JsonObject> | undefined =>
  moment === 'model' ? descriptor.model?.edit : descriptor[moment];

/**
 * Returns the names of what the part of a defence that acts at a moment must be given, such as
 * `clean`.
 */
export const needsOf = ({ descriptor }: CellDefence, moment: HookMoment): readonly string[] =>
  hookOf(descriptor, moment)?.needs ?? [];

/** Whether the cell's defence is handed the defender's clean rows, or trains on them. */
export function readsClean(cell: Cell, plugin: Plugin): boolean {
  const defence = defenceOf(cell, plugin);
  return (
    defence !== null &&
    [...defence.acts].some(
      (moment) =>
        (moment === 'model' && defence.descriptor.model?.retrain !== undefined) ||
        (moment !== 'training' && needsOf(defence, moment).includes('clean')),
    )
  );
}

/**
 * Requests the model that a defence of training rows asks for: trained without a defence, on the
 * very rows that the defence judges. It is trained for as long as the defence's `trainedFor` says
 * or, if that says nothing, for as long as the cell's own model.
 */
export function askedModel(cell: Cell, { name, descriptor, params }: CellDefence): StageRequest {
  const bareCell = undefended(cell);
  const length: unknown = descriptor.rows?.trainedFor?.(params);
  if (length === undefined) return { kind: 'train', cell: bareCell };
  if (!isTrainingLength(length))
    throw new UserFault(
      `the defence "${name}" asks for a model that is trained for ${JSON.stringify(length)}`,
      '`trainedFor` returns { steps: N } or { epochs: N }, above 0.',
      ['defence', 'defence'],
    );
  const { steps: _steps, epochs: _epochs, ...train } = unwatched(bareCell.train);
  return { kind: 'train', cell: { ...bareCell, train: { ...train, ...length } } };
}

/** Whether the value is { steps: N }, with an integer N, or { epochs: N }, and N is above 0. */
const isTrainingLength = (value: unknown): value is TrainingLength => {
  const entries = Object.entries(value ?? {}) as [string, unknown][];
  const [[field, n] = [], another] = entries;
  return (
    another === undefined &&
    typeof n === 'number' &&
    n > 0 &&
    (field === 'steps' ? Number.isInteger(n) : field === 'epochs' && Number.isFinite(n))
  );
};

/** Returns the settings of a training without checkpoints, evaluations and early stopping. */
export const unwatched = (train: Cell['train']): Cell['train'] => ({
  ...train,
  checkpoints: 0,
  evaluate_every: 0,
  tensorboard: false,
  early_stopping: { ...train.early_stopping, patience: 0 },
});

/**
 * Returns what a stage's definition takes from a cell's defence. A parameter whose schema has
 * `format: source` is not among `params`, but among the assets, so that a key has the content of
 * the file that the parameter names.
 */
export function defenceParts({ name, descriptor, params }: CellDefence): {
  readonly params: DefenceParams;
  readonly assets: { readonly [name: string]: string };
  readonly uses: NonNullable<StageDefinition['uses']>;
} {
  const schemas = (descriptor.params['properties'] ?? {}) as {
    readonly [field: string]: { readonly format?: string };
  };
  const keyed: { [field: string]: Json } = {},
    assets: { [name: string]: string } = {};
  for (const [field, value] of Object.entries(params))
    if (schemas[field]?.format !== 'source') keyed[field] = value;
    else if (typeof value === 'string') assets[DEFENCE_ASSET + field] = value;
  const uses = [{ kind: 'defence' as const, name }, ...(descriptor.uses?.(params) ?? [])];
  return { params: { defence: name, ...keyed }, assets, uses };
}

/** The prefix of a defence's sources among the assets of a stage. */
export const DEFENCE_ASSET = 'defence/';

/** Requests the defender's clean rows. They are the same in every cell of the same data. */
export const cleanRows = (cell: Cell): StageRequest => ({ kind: 'clean', cell });

/**
 * Requests the rows that the cell is trained on: as the attack left them, or as the defence left
 * them. Without an attack, a defence that is told which rows are poisoned would change no row, and
 * is not run.
 */
export function trainingSet(cell: Cell, plugin: Plugin): StageRequest {
  const defence = defenceOf(cell, plugin);
  const idle =
    defence === null ||
    !defence.acts.has('rows') ||
    (cell.poisoning.attack === 'none' && needsOf(defence, 'rows').includes('receipt'));
  return { kind: idle ? 'poison' : 'defend', cell };
}

export interface JudgedModel {
  /** The stage whose output is the model. The output has the form of a train stage's. */
  readonly model: StageRequest;
  /** What is needed, beside the checkpoint, to open the model (see `startInputs`). */
  readonly start: { readonly base?: StageRequest };
  /** The adapter under which the model is saved. */
  readonly adapter: string;
}

/** Returns the model that a cell is about, after all that its defence does to it. */
export function judgedModel(cell: Cell, plugin: Plugin): JudgedModel {
  const defence = defenceOf(cell, plugin);
  const trained = { kind: 'train', cell };
  if (defence?.acts.has('model') !== true)
    return { model: trained, start: startInputs(cell), adapter: cell.adapter.type };
  const { edit, quantize, retrain } = defence.descriptor.model ?? {};
  if (quantize !== undefined && retrain !== undefined)
    throw new Error(`the defence "${defence.name}" trains a model that it quantises`);
  const edited: StageRequest = { kind: 'repair', cell };
  if (retrain === undefined) return { model: edited, start: startInputs(cell), adapter: 'full' };
  // The training on clean rows starts from a whole model: the edited one or, if the defence edits
  // none, the trained one with its adapter merged.
  return {
    model: { kind: 'train', cell, with: { on: 'clean' } },
    start: { base: edit === undefined ? { kind: 'merge', cell } : edited },
    adapter: cell.adapter.type,
  };
}

export type ModelParams = ModelNames & {
  readonly defence: DefenceParams;
  readonly seed: number;
  readonly batch_size: number;
  readonly max_length: number;
  /** How the model is held when it is evaluated, if the defence quantises it. */
  readonly weights?: HeldWeights;
};

/**
 * Returns the definition of the stage `repair`, at the moment `model`, or of `detect`, at the
 * moment `detection`.
 */
export function modelDefinition(
  cell: Cell,
  moment: 'model' | 'detection',
  plugin: Plugin,
): StageDefinition<ModelParams> {
  const defence = defenceOf(cell, plugin);
  if (defence?.acts.has(moment) !== true)
    throw new Error(`the cell has no defence that acts on ${moment}`);
  if (moment === 'model' && heldWeights(cell.model).weights?.quantize !== undefined)
    throw new UserFault(
      `the defence "${defence.name}" needs the model's weights, which model.quantize leaves in ` +
        'another form, below an adapter that was trained over it',
      'Write model.quantize: none, or leave out the defence.',
      ['model', 'quantize'],
    );
  const quantize = moment === 'model' ? defence.descriptor.model?.quantize : undefined;
  const { params, assets, uses } = defenceParts(defence);
  return {
    params: {
      ...modelNames(cell),
      defence: params,
      seed: cell.seed,
      batch_size: cell.evaluate.batch_size,
      max_length: cell.train.max_length,
      ...(quantize && heldWeights({ ...cell.model, quantize: quantize(defence.params) })),
    },
    inputs: {
      model: { kind: 'train', cell },
      start: { kind: 'train', cell: beforeTraining(cell) },
      ...(needsOf(defence, moment).includes('clean') && { clean: cleanRows(cell) }),
      ...startInputs(cell),
    },
    assets: { model: cell.model.source, ...assets },
    uses: [...modelUses(cell), ...uses],
  };
}

/**
 * Returns the faults that the defence's own check finds in its parameters.
 * @param tokens returns the token ids of a text; absent if there is no tokenizer to check by
 */
export function defenceFaults(
  { plugin }: Pick<PreflightContext, 'plugin'>,
  { defence, ...params }: DefenceParams,
  tokens?: (text: string) => readonly number[],
): readonly Problem[] {
  const found = plugin<DefenceDescriptor>('defence', defence).check?.(params, tokens) ?? [];
  return found.map((problem) => ({ ...problem, path: ['defence', ...problem.path] }));
}

/**
 * Returns a fault if the part of a defence that acts at a moment can't compute under the backend
 * torch.
 */
export function torchFaults(
  { backend, plugin }: Pick<PreflightContext, 'backend' | 'plugin'>,
  { defence: name, ...params }: DefenceParams,
  moment: HookMoment,
): readonly Problem[] {
  if (backend !== 'torch') return [];
  const hook = hookOf(plugin<DefenceDescriptor>('defence', name), moment);
  if (hook === undefined || hook.torch?.(params) === true) return [];
  return [
    {
      path: ['defence', 'defence'],
      message: `the defence "${name}" computes with a network, which the backend torch does not`,
      hint: 'Leave out this defence, or run it on another backend: --backend tensorflow.',
    },
  ];
}

/** Returns the preflight of a stage that runs the part of a defence that acts at this moment. */
export const preflightOf =
  (moment: HookMoment) =>
  async (context: PreflightContext<ModelParams>): Promise<readonly Problem[]> => {
    const { defence } = context.params;
    return [
      ...defenceFaults(context, defence),
      ...torchFaults(context, defence, moment),
      ...(await quantizerFaults(context)),
    ];
  };

/**
 * Returns a fault if a defence quantises, and the backend is not torch or bitsandbytes can't be
 * used.
 */
async function quantizerFaults({
  backend,
  params: { defence, weights },
}: PreflightContext<ModelParams>): Promise<readonly Problem[]> {
  if (weights?.quantize === undefined) return [];
  const path = ['defence', 'defence'];
  if (backend !== 'torch')
    return [
      {
        path,
        message: `the defence "${defence.defence}" quantises by bitsandbytes, in PyTorch alone`,
        hint: 'Run it with --backend torch, or leave out this defence.',
      },
    ];
  const { quantizeFault } = await import('../../../src/tensor/backend.ts');
  const fault = await quantizeFault('this defence');
  return fault === null ? [] : [{ path, ...fault }];
}
