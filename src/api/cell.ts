/**
 * A cell of the grid, from which every stage is defined: its attacks, its head, and the other cells
 * that its stages read.
 */
import type { JsonObject } from '../base/json.ts';
import type {
  ColumnsSpec,
  DataSpec,
  EvaluateSpec,
  FisherSpec,
  HeadSpec,
  ModelSpec,
  NtkSpec,
  SplitSpec,
  TheorySpec,
  TrainSpec,
} from '../spec/pipeline.generated.ts';
import type { AttackDescriptor } from './attack.ts';
import type { DefineRequest, StageRequest } from './stage.ts';

/** `T` with its defaults filled in: every field is present except, perhaps, those in `Optional`. */
type Filled<T, Optional extends keyof T = never> = {
  readonly [K in Exclude<keyof T, Optional>]-?: Exclude<T[K], undefined>;
} & { readonly [K in Optional]?: T[K] };

/** A column, given by name or by number, from 0. */
export type Column = string | number;

export type ClassColumns = {
  readonly text: Column;
  readonly text_pair?: Column;
  readonly label: Column;
};

/** The columns of prompts and answers, of preference pairs, or of documents. */
export type CompletionColumns =
  | { readonly prompt: Column; readonly answer: Column }
  | { readonly messages: string }
  | { readonly instruction: Column; readonly input?: Column; readonly output: Column }
  | { readonly prompt?: Column; readonly chosen: Column; readonly rejected: Column }
  | { readonly document: Column };

/** A split as a data set's reader receives it. */
export interface ResolvedSplit extends Filled<
  Omit<SplitSpec, 'columns' | 'sample' | 'hold_out'>,
  'classes' | 'limit' | 'max_words' | 'digest' | 'header' | 'delimiter'
> {
  readonly sample?: { readonly rows: number; readonly seed: number };
  readonly hold_out?: { readonly share: number; readonly take: 'rest' | 'held' };
  /** Whether the first line of a table names its columns. */
  readonly header: boolean;
  /** Set for a table some of whose lines have a wrong number of fields: such lines are left out. */
  readonly ragged?: 'left out';
  /**
   * The columns of texts and labels or, in a completion task, those that `CompletionColumns` lists.
   */
  readonly columns: ClassColumns | CompletionColumns;
}

/**
 * A split of a cell. `header` is absent where the spec does not set it, and `columns` are as the
 * spec has them.
 */
export type CellSplit = Omit<ResolvedSplit, 'header' | 'ragged' | 'columns'> &
  Pick<SplitSpec, 'header'> & { readonly columns: Readonly<ColumnsSpec> };

/**
 * The spec with every axis resolved to one value, every default filled in, every `file:` path
 * absolute, and one seed. Overrides under `adapter.train` are merged into `train` and removed from
 * `adapter`.
 */
export interface Cell {
  readonly name: string;
  readonly seed: number;
  readonly model: Filled<ModelSpec>;
  readonly data: {
    readonly train: CellSplit;
    readonly validation: CellSplit;
    readonly clean?: CellSplit;
    /** Rows that are evaluated beside the validation rows, and used for nothing else. */
    readonly test?: CellSplit;
    /** Rows of other tasks, by the task's name, which are evaluated without a trigger. */
    readonly tasks?: { readonly [name: string]: CellSplit };
  } & Pick<DataSpec, 'classes' | 'clean_share'>;
  /**
   * The trainings before this cell's own: one, or a list where the spec has a list, the first one
   * first. If absent, this cell's training starts from the checkpoint.
   */
  readonly base?: BaseTraining | readonly BaseTraining[];
  readonly poisoning: Poisoning;
  /** `defence` and the parameters of that defence. Absent if the cell has no defence. */
  readonly defence?: { readonly defence: string } & JsonObject;
  /** `type` and the parameters of that adapter, with defaults filled in. */
  readonly adapter: { readonly type: string } & JsonObject;
  readonly head: Filled<HeadSpec, 'init_from' | 'verbalizer' | 'template'>;
  /** Three epochs if neither `epochs` nor `steps` is set. */
  readonly train: Filled<TrainSpec, 'epochs' | 'steps'>;
  readonly evaluate: Filled<
    EvaluateSpec,
    'max_length' | 'sampling' | 'scorer' | 'scorers' | 'triggers' | 'lm_eval'
  >;
  readonly ntk: Filled<NtkSpec>;
  readonly fisher: Filled<FisherSpec>;
  readonly theory: Filled<TheorySpec>;
}

/**
 * A training before a cell's own training. The next training starts from the model that it makes.
 */
export interface BaseTraining extends Pick<Cell, 'poisoning' | 'adapter' | 'train'> {
  readonly name?: string;
  /** The rows of this training. Default: those of the cell's own training. */
  readonly data?: Pick<Cell['data'], 'train'>;
}

// ---- the attacks of a cell ---------------------------------------------------------------------

/**
 * `attack` and the parameters of that attack, with defaults filled in. If a spec composes several
 * steps, `attack` is their names joined by `JOINT`, and `steps` holds the parameters of each step
 * by name.
 */
export type Poisoning = { readonly attack: string } & JsonObject;

/** Joins the names of composed attacks: `label-flip+badnets`. No plugin's name contains it. */
export const JOINT = '+';

/** Where in each epoch of the training an attack's poisoned rows stand. */
export type Order = 'mixed' | 'first' | 'last';

export interface AttackStep {
  readonly attack: string;
  readonly params: JsonObject;
}

/**
 * Returns the attacks of a cell in the order in which they are applied: several if the spec
 * composes `steps`, else one. Throws an Error if `steps` lacks the parameters of an attack.
 */
export function stepsOf({ attack, ...params }: Poisoning): readonly AttackStep[] {
  if (!attack.includes(JOINT)) return [{ attack, params }];
  const steps = params['steps'] as { readonly [attack: string]: JsonObject };
  return attack.split(JOINT).map((name) => {
    const own = steps[name];
    if (own === undefined) throw new Error(`\`steps\` has no parameters of "${name}"`);
    return { attack: name, params: own };
  });
}

/**
 * Returns where a step's rows are put in each epoch; null if the epoch's order stays as it is,
 * under `order: mixed` or without `order`.
 */
export const placeInEpoch = ({ params: { order } }: AttackStep): 'first' | 'last' | null =>
  order === 'first' || order === 'last' ? order : null;

export const hasOrder = (poisoning: Poisoning): boolean =>
  stepsOf(poisoning).some((step) => placeInEpoch(step) !== null);

/**
 * Returns the poisoning without the attacks' `order`, which no trigger depends on.
 * @param which `any`: every `order` is left out; `mixed`: only `order: mixed`, which changes
 *   nothing, because the order is mixed without it too
 */
export function withoutOrder(poisoning: Poisoning, which: 'mixed' | 'any' = 'any'): Poisoning {
  const dropped: readonly unknown[] = which === 'mixed' ? ['mixed'] : ['mixed', 'first', 'last'];
  const dropOrder = ({ order, ...params }: JsonObject): JsonObject =>
    order === undefined || dropped.includes(order) ? params : { ...params, order };
  const { attack, ...params } = poisoning;
  if (!attack.includes(JOINT)) return { attack, ...dropOrder(params) };
  const steps = stepsOf(poisoning).map((step) => [step.attack, dropOrder(step.params)] as const);
  return { ...poisoning, steps: Object.fromEntries(steps) };
}

/**
 * Returns the poisoning of the clean twin of a cell with this poisoning: nothing is poisoned, and
 * the rows that the attack would poison stand first or last in each epoch, as in the cell.
 */
const cleanInOrderOf = (poisoning: Poisoning): Poisoning => ({
  attack: 'none',
  order_of: poisoning,
});

/**
 * Returns the poisoning whose order of rows a clean twin keeps; null for a poisoning that
 * `cleanInOrderOf` did not make.
 */
export const orderedLike = (poisoning: Poisoning): Poisoning | null =>
  (poisoning['order_of'] as Poisoning | undefined) ?? null;

// ---- how frozen weights are held in memory -----------------------------------------------------

/**
 * How frozen weights are held if not all in float32. It is a type alias, because an interface is
 * not a `JsonObject`.
 */
export type HeldWeights = {
  /**
   * The type in which frozen weights are held. Quantised weights are converted to it for each
   * product.
   */
  readonly dtype: 'float32' | 'bf16';
  /** How the linear layers below the head are quantised. Absent if they are not. */
  readonly quantize?:
    | { readonly method: 'nf4'; readonly double_quantization: boolean }
    | { readonly method: 'int8'; readonly threshold: number };
};

const QUANTIZED = {
  none: undefined,
  nf4: { method: 'nf4', double_quantization: true },
  int8: { method: 'int8', threshold: 6 },
} as const;

/**
 * Returns how frozen weights are held, to be spread into the parameters of a stage. `{}` if all are
 * in float32, so that the stage's key does not mention them.
 */
export function heldWeights({ dtype, quantize }: Cell['model']): { weights?: HeldWeights } {
  const form = QUANTIZED[quantize];
  if (form === undefined && dtype !== 'bf16') return {};
  return { weights: { dtype, ...(form && { quantize: form }) } };
}

// ---- other cells that a cell's stages read: before its training, its base, its clean twin ------

const unpoisoned = { attack: 'none' } as const;

/**
 * Returns the cell whose train stage saves the model that this cell's training starts from. That
 * stage trains for 0 steps and reads neither attack nor schedule, so cells that differ only in
 * those share the stage.
 */
export const beforeTraining = (cell: Cell): Cell => ({
  ...cell,
  poisoning: unpoisoned,
  train: { ...cell.train, steps: 0 },
});

export function undefended(cell: Cell): Cell {
  const { defence: _defence, ...rest } = cell;
  return rest;
}

/** Returns the trainings before the cell's own, the first one first. */
export const basesOf = ({ base }: Pick<Cell, 'base'>): readonly BaseTraining[] =>
  base === undefined ? [] : [base].flat();

/**
 * Returns a cell whose own training is the last one of this cell's `base`; the trainings before
 * that one are its `base`. This cell's own training starts from the model of the returned cell.
 * Null if this cell has no base: its training starts from the checkpoint.
 */
export function baseOf(cell: Cell): Cell | null {
  // A defence is against the cell's own training.
  const { base: _base, defence: _defence, ...rest } = cell;
  const before = basesOf(cell),
    last = before.at(-1);
  if (last === undefined) return null;
  const { name: _name, data, ...training } = last;
  // If the last training's `data` replaces the cell's rows, earlier trainings without `data` must
  // be given the cell's rows.
  const earlier = before
    .slice(0, -1)
    .map((base) => (data === undefined ? base : { data: { train: cell.data.train }, ...base }));
  const { model } = cell;
  return {
    ...rest,
    ...training,
    ...(data && { data: { ...cell.data, ...data } }),
    // A base is not quantised: its adapter is merged into its weights first.
    model: model.quantize === 'none' ? model : { ...model, quantize: 'none' },
    ...(earlier.length > 0 && { base: earlier }),
  };
}

/**
 * Whether the cell's trainings are a chain, each of which is evaluated. They are if there are
 * several bases, or if a base is poisoned or trained on rows of its own.
 */
export const isChain = (cell: Cell): boolean =>
  basesOf(cell).length > 1 ||
  basesOf(cell).some((base) => isPoisoned(base) || base.data !== undefined);

/** The fields of a `StageRequest` that say to which training of a cell a stage belongs. */
export type TrainingRequest = Pick<StageRequest, 'cell' | 'section'>;

/** Returns what `baseOf` returns, with its section of the spec; null if there is no base. */
function baseRequest(cell: Cell): TrainingRequest | null {
  const base = baseOf(cell);
  if (base === null) return null;
  const place = Array.isArray(cell.base) ? `.${cell.base.length - 1}` : '';
  return { cell: base, section: `base${place}` };
}

/** Returns the trainings that lead to the cell's model, the first one first and its own last. */
export function trainingsOf(cell: Cell): readonly TrainingRequest[] {
  const before: TrainingRequest[] = [];
  for (let base = baseRequest(cell); base !== null; base = baseRequest(base.cell))
    before.unshift(base);
  return [...before, { cell }];
}

/**
 * Returns how a path within `base` begins: `base.` for `base.train.steps`, or `base.0.` for
 * `base.0.train.steps`, where `base` is a list. Empty for any other path.
 */
export const basePrefix = (path: string): string => /^base\.(?:\d+\.)?/.exec(path)?.[0] ?? '';

/**
 * Returns what a training before the cell's own is called: `base` or, in a chain, `training 1` for
 * `base.0`.
 * @param section its section of the spec, or a path in the section
 */
export const baseTitle = (section: string): string => {
  const at = /^base\.(\d+)/.exec(section)?.[1];
  return at === undefined ? 'base' : `training ${Number(at) + 1}`;
};

/**
 * Returns a short name for each path: its last part or, if other paths end in it too, as many parts
 * as tell them apart. Paths of a training of `base` are compared only with each other and keep
 * their prefix.
 */
export function shortNames(paths: readonly string[]): Map<string, string> {
  const prefixes = new Set(paths.map(basePrefix));
  if ([...prefixes].some((prefix) => prefix !== ''))
    return new Map(
      [...prefixes].flatMap((prefix) => {
        const own = paths.filter((path) => basePrefix(path) === prefix);
        const below = own.map((path) => path.slice(prefix.length));
        return [...shortNames(below)].map(
          ([path, name]) => [prefix + path, prefix + name] as const,
        );
      }),
    );
  const lastParts = (path: string, n: number): string => path.split('.').slice(-n).join('.');
  return new Map(
    paths.map((path) => {
      const parts = path.split('.').length;
      // The name of a step's field starts with the attack: `badnets.rate`.
      let n = path.startsWith('poisoning.steps.') ? parts - 2 : 1;
      const isTaken = (name: string): boolean =>
        paths.some((other) => other !== path && lastParts(other, n) === name);
      while (n < parts && isTaken(lastParts(path, n))) n++;
      return [path, lastParts(path, n)];
    }),
  );
}

/**
 * Returns the inputs that a stage needs, beside the asset `model`, to open the model that the
 * cell's training starts from (with `startingModel` in src/data/model-folder.ts): the base's model
 * with its adapter merged. Empty if the training starts from the checkpoint.
 */
export function startInputs(cell: Cell): { readonly base?: StageRequest } {
  const base = baseRequest(cell);
  return base === null ? {} : { base: { kind: 'merge', ...base } };
}

const isPoisoned = ({ poisoning }: Pick<Cell, 'poisoning'>): boolean => poisoning.attack !== 'none';

/**
 * Returns the training whose attack the cell studies: the last one that is poisoned. The cell's own
 * if none is.
 */
export const attackedTraining = (cell: Cell): TrainingRequest =>
  isPoisoned(cell) || !basesOf(cell).some(isPoisoned)
    ? { cell }
    : (trainingsOf(cell).findLast((training) => isPoisoned(training.cell)) ?? { cell });

/** Whether a base of the cell is poisoned and the cell's own training is not. */
export const isOfBase = (cell: Cell): boolean =>
  !isPoisoned(cell) && basesOf(cell).some(isPoisoned);

/** Returns the poisoning of `attackedTraining`; its attack is `none` if no training is poisoned. */
export const attackOf = (cell: Cell): Poisoning => attackedTraining(cell).cell.poisoning;

/** Whether any training of the cell is poisoned, be it a base or its own. */
export const isAttacked = (cell: Cell): boolean => attackOf(cell).attack !== 'none';

/**
 * Whether a training with this poisoning is itself the attack: `AttackDescriptor.training` of one
 * of its attacks changes weights. Without the attack, the training would not take place.
 * @param plugin if it is undefined, no training counts as an attack
 */
export const isAttacksOwn = ({ attack }: Poisoning, plugin: DefineRequest['plugin']): boolean =>
  attack
    .split(JOINT)
    .some((name) => plugin?.<AttackDescriptor>('attack', name)?.training?.changes === 'weights');

/**
 * Returns the paired clean run: the cell without its attacks. Trainings that are themselves attacks
 * (`isAttacksOwn`) take 0 steps. If an attack has an `order`, the twin's rows stand in that order.
 * The twin keeps the cell's defence, because a defence may by itself change what a trigger does to
 * a model that was never attacked.
 */
export function cleanTwin(cell: Cell, plugin: DefineRequest['plugin']): Cell {
  const clean = <T extends Pick<Cell, 'poisoning' | 'train'>>(training: T): T => ({
    ...training,
    poisoning: hasOrder(training.poisoning) ? cleanInOrderOf(training.poisoning) : unpoisoned,
    train: isAttacksOwn(training.poisoning, plugin)
      ? { ...training.train, steps: 0 }
      : training.train,
  });
  const bases = basesOf(cell).map(clean),
    [only] = bases;
  return { ...clean(cell), ...(only && { base: Array.isArray(cell.base) ? bases : only }) };
}

// ---- the model's head, and the points of the training at which kernels are measured ------------

/** A head as it appears in the parameters of stages and in `train.json`. */
export type HeadSettings =
  | { readonly type: 'classifier' }
  | { readonly type: 'regression' }
  | {
      readonly type: 'cloze';
      /** Contains {text}, {mask} and, for pairs, {text_pair}. */
      readonly template: string;
      /** The word for each class, by the class's name. */
      readonly verbalizer: { readonly [name: string]: string };
    }
  | {
      readonly type: 'causal-lm';
      /**
       * `chat` (the tokenizer's chat template), `alpaca` (Alpaca's prompt), or a text that contains
       * {prompt}. The answer follows its end.
       */
      readonly template: string;
    };

const TEMPLATES = { cloze: '{text} It was {mask} .', 'causal-lm': '{prompt}' } as const;

/**
 * Returns only the settings that a head of this type reads, because a field that is not read must
 * not be part of a stage's key. If the spec sets no template, the type's own is filled in; if no
 * verbalizer, {}.
 */
export function headSettings({ type, template, verbalizer }: Cell['head']): HeadSettings {
  if (type === 'classifier' || type === 'regression') return { type };
  const filled = { template: template ?? TEMPLATES[type] };
  return type === 'cloze' ? { type, ...filled, verbalizer: verbalizer ?? {} } : { type, ...filled };
}

/** A point of `ntk.at`: the start, the end, or a step kept by `train.checkpoints`. */
export type KernelPoint = 'init' | 'final' | number;

/**
 * Returns the name of a point's folder, which also begins the names of its metrics: `init`,
 * `step-100`.
 */
export const pointName = (at: KernelPoint): string => (typeof at === 'number' ? `step-${at}` : at);

export const inOrder = (points: readonly KernelPoint[]): KernelPoint[] => {
  const position = (at: KernelPoint): number =>
    at === 'init' ? -1 : at === 'final' ? Infinity : at;
  return [...points].sort((a, b) => position(a) - position(b));
};

/** Returns the points that have these names, in the order of training. Other names are skipped. */
export const pointsIn = (names: readonly string[]): KernelPoint[] =>
  inOrder(
    names.flatMap((name): KernelPoint[] => {
      if (name === 'init' || name === 'final') return [name];
      const step = /^step-(\d+)$/.exec(name)?.[1];
      return step === undefined ? [] : [Number(step)];
    }),
  );
