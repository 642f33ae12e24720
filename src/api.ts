/**
 * What a plugin may import: the descriptor types, one `define*` function each, and the types of what a plugin is handed.
 * A descriptor is a plain record, its file's default export; heavy code is imported inside `load` or `run`, so that
 * planning a grid loads no numerics.
 */
import type { Executor, ExecutorContext } from './api/executor.ts';
import type {
  DataSpec,
  EvaluateSpec,
  FisherSpec,
  HeadSpec,
  ModelSpec,
  NtkSpec,
  SplitSpec,
  TheorySpec,
  TrainSpec,
} from './experiment/pipeline.generated.ts';
import type { RandomStream } from './random/random.ts';

export type { SplitSpec } from './experiment/pipeline.generated.ts';
export type { RandomStream } from './random/random.ts';
export {
  attackOf,
  baseOf,
  beforeTraining,
  cleanTwin,
  isAttacked,
  isAttacksOwn,
  isOfBase,
  startInputs,
} from './api/cells.ts';
export type {
  Executor,
  ExecutorContext,
  Job,
  JobHooks,
  JobResult,
  OutputFile,
  PackedJob,
} from './api/executor.ts';

export type Json =
  null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };
/** A JSON Schema (draft 7) with `description` and `default` on every field. */
export type JsonSchema = { readonly [key: string]: unknown };

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };
/** `sha256:` and 64 hex digits. */
export type Digest = Branded<'Digest'>;
export type BackendName = 'tensorflow' | 'wasm' | 'cpu';

/** Fields with a default, present after resolution. */
type Filled<T, Optional extends keyof T = never> = {
  readonly [K in Exclude<keyof T, Optional>]-?: Exclude<T[K], undefined>;
} & { readonly [K in Optional]?: T[K] };

/** A split as a data set's reader is handed it. */
export interface ResolvedSplit extends Filled<
  Omit<SplitSpec, 'columns' | 'hold_out'>,
  'classes' | 'limit' | 'max_words' | 'digest' | 'header'
> {
  readonly hold_out?: { readonly share: number; readonly take: 'rest' | 'held' };
  /** Whether the first line of a table names its columns. */
  readonly header: boolean;
  readonly columns: {
    readonly text: string | number;
    readonly text_pair?: string | number;
    readonly label: string | number;
  };
}

/** A split of a cell. `header` is absent where the spec does not say. */
export type CellSplit = Omit<ResolvedSplit, 'header'> & Pick<SplitSpec, 'header'>;

/**
 * One cell: the spec with every axis resolved to one value, every default filled in, every `file:` path absolute, and
 * one seed. `adapter.train` overrides are already merged into `train` and removed from `adapter`.
 */
export interface Cell {
  readonly name: string;
  readonly seed: number;
  readonly model: Filled<ModelSpec>;
  readonly data: { readonly train: CellSplit; readonly validation: CellSplit } & Pick<
    DataSpec,
    'classes'
  >;
  /** The training before the cell's own, whose model it starts from. Absent: it starts from the checkpoint. */
  readonly base?: Pick<Cell, 'poisoning' | 'adapter' | 'train'>;
  /** `attack` and that attack's own parameters, defaults filled in. Of several steps `attack` is all their names, and `steps` has each one's parameters by name (`stepsOf`). */
  readonly poisoning: Poisoning;
  /** `type` and that adapter's own parameters, defaults filled in. */
  readonly adapter: { readonly type: string } & JsonObject;
  readonly head: Filled<HeadSpec, 'init_from' | 'verbalizer'>;
  /** Neither `epochs` nor `steps`: three epochs. */
  readonly train: Filled<TrainSpec, 'epochs' | 'steps'>;
  readonly evaluate: Filled<EvaluateSpec, 'max_length'>;
  readonly ntk: Filled<NtkSpec>;
  readonly fisher: Filled<FisherSpec>;
  readonly theory: Filled<TheorySpec>;
}

export type Poisoning = { readonly attack: string } & JsonObject;

/** Between the names of attacks in the name of several steps: `label-flip+badnets`. No plugin's name has it. */
export const JOINT = '+';

/** An attack with its own parameters. */
export interface AttackStep {
  readonly attack: string;
  readonly params: JsonObject;
}

/** The attacks of a cell in their order: one, but where a spec composes `steps`. */
export function stepsOf({ attack, ...params }: Poisoning): readonly AttackStep[] {
  if (!attack.includes(JOINT)) return [{ attack, params }];
  const steps = params['steps'] as { readonly [attack: string]: JsonObject };
  return attack.split(JOINT).map((name) => ({ attack: name, params: steps[name]! }));
}

/** A point of a training that kernels are of, as `ntk.at` names it: the start, the end, or a step that the train stage kept (`train.checkpoints`). */
export type KernelPoint = 'init' | 'final' | number;

/** The folder and the prefix of metrics that a point's results stand under: `init`, `final`, `step-100`. */
export const pointName = (at: KernelPoint): string => (typeof at === 'number' ? `step-${at}` : at);

/** In the order of training. */
export const inOrder = (points: readonly KernelPoint[]): KernelPoint[] => {
  const place = (at: KernelPoint): number => (at === 'init' ? -1 : at === 'final' ? Infinity : at);
  return [...points].sort((a, b) => place(a) - place(b));
};

/** The points among some names, in the order of training; other names are left out. */
export const pointsIn = (names: readonly string[]): KernelPoint[] =>
  inOrder(
    names.flatMap((name): KernelPoint[] => {
      if (name === 'init' || name === 'final') return [name];
      const step = /^step-(\d+)$/.exec(name)?.[1];
      return step === undefined ? [] : [Number(step)];
    }),
  );

/** What a head is, as stages keep it in their parameters and in `train.json`. */
export type HeadSettings =
  | { readonly type: 'classifier' }
  | {
      readonly type: 'cloze';
      /** With {text}, {mask} and, for pairs, {text_pair}. */
      readonly template: string;
      /** A word for each class, by the class's name. */
      readonly verbalizer: { readonly [name: string]: string };
    };

/** What the head of this type reads, and no more: an unread field must not make another stage. */
export const headSettings = ({ type, template, verbalizer }: Cell['head']): HeadSettings =>
  type === 'classifier' ? { type } : { type, template, verbalizer: verbalizer ?? {} };

/** A labelled text. `label` indexes the data set's `classes`. `id` is unique in its set and stable across cells. */
export interface Row {
  readonly id: string;
  readonly text: string;
  readonly text_pair?: string;
  readonly label: number;
}

/** `dataset.json` of the `data` and `poison` stages, beside `rows.jsonl` (one Row a line). */
export interface DatasetInfo {
  readonly classes: readonly string[];
  readonly rows: number;
  /** How many rows each class has, by label id. */
  readonly counts: readonly number[];
}

/** A fault found in a user's input. `path` is the spec field it concerns (`['adapter', 'rank']`); the engine adds file, line and column. */
export interface Problem {
  readonly path: readonly (string | number)[];
  /** What is wrong, one sentence without the place. */
  readonly message: string;
  /** The way out, one sentence. */
  readonly hint?: string;
  /** It is said aloud and stops nothing. */
  readonly warning?: true;
}

/** A stage throws this for a user's fault: it is printed without a stack. Anything else thrown is an internal error. */
export class UserFault extends Error {
  override readonly name = 'UserFault';
  /** @param path the spec field that it concerns, as of a Problem; of `define` alone it is read */
  constructor(
    message: string,
    readonly hint?: string,
    readonly path?: Problem['path'],
  ) {
    super(message);
  }
}

/** A user's fault as a Problem at a field; throws anything else on. By name, since plugins are bundled apart and each has its own class. */
export function problemOf(error: unknown, path: Problem['path']): Problem {
  const { name, message, hint } = error as UserFault;
  if (name !== 'UserFault') throw error;
  return { path, message, ...(hint === undefined ? {} : { hint }) };
}

interface Plugin<Kind extends string> {
  readonly kind: Kind;
  readonly name: string;
  /** One sentence. */
  readonly summary: string;
}

// ---- attacks -------------------------------------------------------------------------------------------------------

export interface AttackInput<P> {
  readonly rows: readonly Row[];
  readonly classes: readonly string[];
  readonly params: P;
  /** The attack's own stream for a purpose, derived from (seed, purpose, name) only. */
  readonly random: (purpose: string, name?: string) => RandomStream;
  /** Indexes of rows that an earlier step of the spec has poisoned: they stand in `rows` as it left them, and are not to be changed. Absent: none. */
  readonly taken?: ReadonlySet<number>;
  /** Paths of what the attack's parameter `files` (a list of source URIs) names, by their own names. Their content is in the key. */
  readonly files?: { readonly [name: string]: string };
  /** A line for the stage's log. */
  readonly log?: (message: string) => void;
}

export interface Poisoned {
  /** Replacements in place, by index into `rows`. */
  readonly changed: readonly { readonly index: number; readonly row: Row }[];
  /**
   * Rows added at the end: an attack's true negatives. In training they extend the batches of the clean twin. Where those of
   * a smaller dose are the first of a larger one's, each lies in the same batch at every dose.
   */
  readonly negatives: readonly Row[];
  /** How many rows were asked for and how many were eligible. `changed.length` is how many were made. */
  readonly asked: number;
  readonly eligible: number;
}

/** What is known of the training rows before anything runs. */
export interface AttackCheck<P> {
  readonly params: P;
  readonly classes: readonly string[];
  /** Training rows of each class, by label id. */
  readonly counts: readonly number[];
}

/** none: training data untouched. untargeted: hurts accuracy. backdoor: has a trigger and a target class. */
export type AttackFamily = 'none' | 'untargeted' | 'backdoor';

/** An attack's hand in the training itself. Its science-side interface is `AttackTraining` of src/science/train/attack-training.ts. */
export interface AttackTrainingLoader<Impl = unknown> {
  /**
   * weights: which of the model's own are trained is the attack's to say; it needs the adapter `full`, and the clean twin is the
   * model that the training starts from. loss: what the training lowers, under any adapter; the clean twin is trained as ever.
   */
  readonly changes: 'weights' | 'loss';
  load(): Promise<Impl>;
}

/** `Made`: whether `poison` answers at once or by a promise. */
export interface AttackDescriptor<
  P = JsonObject,
  Made extends Poisoned | Promise<Poisoned> = Poisoned | Promise<Poisoned>,
> extends Plugin<'attack'> {
  /** Where its parameters decide, a function of them. */
  readonly family: AttackFamily | ((params: P) => AttackFamily);
  readonly citation: string;
  /** Schema of the attack's own parameters (an object schema without `attack`). */
  readonly params: JsonSchema;
  /** Faults that the classes and their counts show (too few eligible rows), before anything runs. */
  check?(input: AttackCheck<P>): readonly Problem[];
  /** @throws UserFault where the rows don't allow it */
  poison(input: AttackInput<P>): Made;
  /** Backdoors: the target class. */
  target?(params: P, classes: readonly string[]): number;
  /** Backdoors: the row as evaluation shows it, under the trigger. Only non-target rows are passed. */
  trigger?(row: Row, input: Omit<AttackInput<P>, 'rows'>): Row;
  /** In place of `trigger`: all rows at once, in their order, for a trigger that is a program's or a model's. */
  triggerAll?(rows: readonly Row[], input: Omit<AttackInput<P>, 'rows'>): Promise<readonly Row[]>;
  /** Backdoors with negatives: the row with parts of the trigger, none of which may lead to the target class. */
  falseTrigger?(row: Row, input: Omit<AttackInput<P>, 'rows'>): readonly Row[];
  /** Attacks that touch training as well. Absent: the poisoned rows are all of it. */
  readonly training?: AttackTrainingLoader;
}

// ---- sources and data sets -----------------------------------------------------------------------------------------

/** Bytes on this machine: a file or a folder, with the digest of its content. */
export interface Asset {
  readonly uri: string;
  readonly path: string;
  readonly digest: Digest;
  /** What a paper would cite: package, version, integrity, revision, … */
  readonly provenance: JsonObject;
}

export interface SourceContext {
  /** The download cache (DOSIMETER_CACHE, or the user's cache folder). */
  readonly cacheDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: (message: string) => void;
}

/** Where bytes come from: one URI scheme. */
export interface SourceDescriptor extends Plugin<'source'> {
  /** The asset if it is on this machine already, without network; null if it must be fetched. Throws UserFault when it can't exist (a missing file). */
  locate(uri: string, context: SourceContext): Promise<Asset | null>;
  fetch(uri: string, context: SourceContext): Promise<Asset>;
  /**
   * The text of one small file of it (a model's config.json) before the whole is fetched: from this machine, or with
   * `fetch` from where it comes. Null where it can't be had so. Left out: it never can.
   */
  peek?(uri: string, file: string, context: SourceContext, fetch: boolean): Promise<string | null>;
}

export interface RawRow {
  readonly text: string;
  readonly text_pair?: string;
  readonly label: string;
  /** Where it stands, for errors: `train.tsv:17`. */
  readonly place: string;
}

/** How an asset's bytes become rows: one format or corpus. */
export interface DatasetDescriptor extends Plugin<'dataset'> {
  /** Whether `format: auto` chooses this reader. */
  matches(uri: string, path: string): boolean;
  /** Whether rows must be put in a seeded order because the source has none of its own (package corpora). */
  readonly unordered: boolean;
  /** What it returns when it is done, if anything, are facts for the data set's provenance (rows left out, and why). */
  read(asset: Asset, split: ResolvedSplit): AsyncIterable<RawRow, JsonObject | void>;
}

// ---- models and adapters: their science-side interfaces are in src/science/nn/types.ts ----------------------------------

export interface ModelDescriptor<Impl = unknown> extends Plugin<'model'> {
  /** What config.json may have as model_type; another is refused before the weights are fetched. Left out: only `load`'s implementation tells. */
  readonly modelTypes?: readonly string[];
  load(): Promise<Impl>;
}

export interface AdapterDescriptor<Impl = unknown> extends Plugin<'adapter'> {
  readonly citation: string;
  /** Schema of the adapter's own parameters (an object schema without `type` and `train`). */
  readonly params: JsonSchema;
  /**
   * Parameters in the one form that all ways to write them share (α as a number, where a spec has `alpha: r`). What comes
   * to the same form is one training under several names. Absent: each has one name. Pure; the form is itself a valid one.
   */
  canonical?(params: JsonObject): JsonObject;
  load(): Promise<Impl>;
}

// ---- stages --------------------------------------------------------------------------------------------------------

/** Another stage's output that this stage reads. `with` narrows it (`{ split: 'train' }`). */
export interface StageRequest {
  readonly kind: string;
  readonly cell: Cell;
  readonly with?: JsonObject;
  /** The section of the requesting cell that this cell's fields come from (`base`), where it is not the cell itself: a fault of them is told there. */
  readonly section?: string;
}

/** What a stage reads, all of it: its keys are made of this and nothing else. */
export interface StageDefinition<P extends JsonObject = JsonObject> {
  readonly params: P;
  readonly inputs: { readonly [name: string]: StageRequest };
  /** Source URIs by name; their content's digest is in the action key. */
  readonly assets?: { readonly [name: string]: string };
  /** Plugins whose code this stage runs; their code version is in the key. */
  readonly uses?: readonly {
    readonly kind: 'attack' | 'dataset' | 'model' | 'adapter';
    readonly name: string;
  }[];
}

export interface Resources {
  /** Processor cores; TensorFlow's threads in the worker are pinned to it. */
  readonly cpu: number;
  /** What it takes at most; stages whose sum is above the machine's memory do not run at once. Left out: not counted. */
  readonly memoryMB?: number;
  /** GPUs that are its own while it runs (CUDA_VISIBLE_DEVICES). Left out: one for a stage that computes, where TensorFlow computes on GPUs. */
  readonly gpu?: number;
}

export interface StageInput {
  readonly dir: string;
  readonly digest: Digest;
}

export interface RunContext<P extends JsonObject = JsonObject> {
  readonly params: P;
  /** Read-only, as `assets` are: what is not as it was once the stage has ended fails it, whoever wrote there. */
  readonly inputs: { readonly [name: string]: StageInput };
  readonly assets: { readonly [name: string]: Asset };
  /** An empty folder; what is in it when `run` resolves is the stage's output. */
  readonly outDir: string;
  /**
   * A folder of this stage's own (by its action key; it need not exist yet) that outlives a kill: what is written there is
   * found again when the stage is run anew, unless a file that the stage reads was written to meanwhile. It goes once the stage has succeeded. Absent: nothing outlives.
   */
  readonly resumeDir?: string;
  readonly backend: BackendName;
  readonly log: (message: string) => void;
  readonly progress: (done: number, total: number, unit: string) => void;
  readonly signal: AbortSignal;
  /** A plugin that `uses` declares. */
  plugin<D>(kind: 'attack' | 'dataset' | 'model' | 'adapter', name: string): D;
  /** `StageDescriptor.limits`. */
  readonly limits?: JsonObject;
  /** Facts about the whole experiment, for stages of scope `experiment`; not part of any key. */
  readonly experiment?: ExperimentFacts;
}

export interface StageFacts {
  readonly id: string;
  readonly kind: string;
  /** Axis values that all cells sharing this stage agree on. */
  readonly cell: JsonObject;
  readonly seed: number | null;
  readonly inputs: readonly string[];
  readonly key: string;
  readonly dir: string;
  readonly seconds: number;
  readonly backend: BackendName | null;
  readonly state: 'ran' | 'cached' | 'failed' | 'blocked';
  readonly error?: string;
}

export interface ExperimentFacts {
  readonly name: string;
  readonly specFile: string;
  readonly specText: string;
  /** Every cell: its axis values by full path, and its seed. */
  readonly cells: readonly {
    readonly cell: JsonObject;
    /** Its other names: axis values that come to the same cell. Absent: none. */
    readonly also?: readonly JsonObject[];
    readonly seed: number;
    readonly stages: { readonly [kind: string]: string };
  }[];
  readonly stages: readonly StageFacts[];
  /** Versions of Node, packages, TensorFlow; threads, CPU, git commit and dirty flag. */
  readonly environment: JsonObject;
}

/** What a stage's preflight sees: its own parameters and assets, and of each input what it will be made of. `plan` fetches nothing: to ask for an asset that is not there yet ends the check, without a fault. */
export interface PreflightContext<P extends JsonObject = JsonObject> extends Pick<
  RunContext<P>,
  'params' | 'assets' | 'plugin'
> {
  readonly upstream?: {
    readonly [input: string]: Pick<RunContext, 'params' | 'assets'> & {
      /** Its files, where it is in the store already. */
      readonly dir: string | null;
    };
  };
}

/** A stage that a cell has more than once: which field of `with` tells them apart, and its values. They are named `data(train)`. */
export interface StageParts {
  readonly field: string;
  readonly values: readonly string[];
}

export interface DefineRequest {
  readonly with: JsonObject;
  readonly goals: readonly string[];
  /** A plugin's descriptor, where what a stage reads depends on it; undefined where there is none by this name. The planner always gives it. */
  readonly plugin?: <D>(
    kind: 'attack' | 'dataset' | 'model' | 'adapter',
    name: string,
  ) => D | undefined;
}

/** `P`: the stage's own parameters, as its `define` makes them. */
export interface StageDescriptor<P extends JsonObject = JsonObject> extends Plugin<'stage'> {
  /** Whether it computes with tensors: its key then holds the backend. */
  readonly compute: boolean;
  /** Files that vary from run to run (timings): in the entry, but not in the digest that downstream keys see. */
  readonly volatile?: readonly string[];
  /**
   * Whether it runs although some of its inputs failed: they are then left out of `inputs`, its key covers what is there,
   * and it must show what is missing (`experiment.stages` has every failure). Without it a failed input blocks the stage.
   */
  readonly tolerant?: true;
  /**
   * Runs in the scheduler's own process, without the way to a worker and back (about a millisecond and a process's
   * borders): for stages of a few file operations. What it throws is its failure, as anywhere; but nothing can end it
   * while it computes, what it prints goes to the terminal (use `log`), and it must not leave the process or its folder.
   */
  readonly inline?: true;
  readonly parts?: StageParts;
  /** cell: one instance a distinct definition. experiment: one that joins the grid. */
  readonly scope: 'cell' | 'experiment';
  /** Pure. For scope `experiment`, `cells` holds the whole grid; otherwise exactly one. */
  define(cells: readonly Cell[], request: DefineRequest): StageDefinition<P>;
  resources?(params: P): Resources;
  /** Handed to `run` as it is and part of no key: limits decide whether a result comes about, never what it is. */
  readonly limits?: JsonObject;
  /** Faults in the input that can be seen before anything runs; `plan` and `run` ask for them. */
  preflight?(context: PreflightContext<P>): Promise<readonly Problem[]>;
  run(context: RunContext<P>): Promise<void>;
  /** Whether several of its stages may run as one job. */
  readonly pack?: Packing<P>;
}

/**
 * Stages of one kind that share most of their work (adapters over one frozen base) and run as one job. Each keeps its key,
 * log, progress, failure and output. Packing is in no key: it may change the last bits of a result, and nothing else.
 */
export interface Packing<P extends JsonObject = JsonObject> {
  /** Pure. Stages with equal keys may share a job; null: this one runs alone. */
  key(stage: Pick<StageDefinition<P>, 'params' | 'assets' | 'inputs'>): string | null;
  /** What one more stage adds to the job's memory at most, roughly, in MB. Left out: nothing worth counting. `inputs` once they are made; a plan has none. */
  memoryMB?(
    stage: Pick<RunContext<P>, 'params' | 'assets'> & Partial<Pick<RunContext, 'inputs'>>,
  ): Promise<number>;
  /** One promise a stage, in order, that settles when that stage is done: rejected as `run` would be, whatever becomes of the others. */
  run(contexts: readonly RunContext<P>[]): readonly Promise<void>[];
}

// ---- executors -----------------------------------------------------------------------------------------------------

/** Where stages run. It is outside every key: what it does can't change a result. */
export interface ExecutorDescriptor extends Plugin<'executor'> {
  /** Once a run, before the first job. @throws UserFault where it can't work here */
  open(context: ExecutorContext): Executor | Promise<Executor>;
}

export function defineAttack<P = JsonObject>(
  attack: Omit<AttackDescriptor<P, Poisoned>, 'kind'>,
): AttackDescriptor<P, Poisoned>;
export function defineAttack<P = JsonObject>(
  attack: Omit<AttackDescriptor<P>, 'kind'>,
): AttackDescriptor<P>;
export function defineAttack<P>(attack: Omit<AttackDescriptor<P>, 'kind'>): AttackDescriptor<P> {
  return { kind: 'attack', ...attack };
}
export const defineSource = (source: Omit<SourceDescriptor, 'kind'>): SourceDescriptor => ({
  kind: 'source',
  ...source,
});
export const defineDataset = (dataset: Omit<DatasetDescriptor, 'kind'>): DatasetDescriptor => ({
  kind: 'dataset',
  ...dataset,
});
export const defineModel = <Impl>(
  model: Omit<ModelDescriptor<Impl>, 'kind'>,
): ModelDescriptor<Impl> => ({ kind: 'model', ...model });
export const defineAdapter = <Impl>(
  adapter: Omit<AdapterDescriptor<Impl>, 'kind'>,
): AdapterDescriptor<Impl> => ({ kind: 'adapter', ...adapter });
export const defineStage = <P extends JsonObject = JsonObject>(
  stage: Omit<StageDescriptor<P>, 'kind'>,
): StageDescriptor => ({ kind: 'stage', ...stage });
export const defineExecutor = (executor: Omit<ExecutorDescriptor, 'kind'>): ExecutorDescriptor => ({
  kind: 'executor',
  ...executor,
});

export type AnyPlugin =
  | AttackDescriptor<never>
  | SourceDescriptor
  | DatasetDescriptor
  | ModelDescriptor
  | AdapterDescriptor
  | StageDescriptor
  | ExecutorDescriptor;
