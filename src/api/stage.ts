/** Stages: what they read, how they are planned, checked and run, and what they are handed. */
import type { Problem, Warning } from '../base/fault.ts';
import type { BackendName, Digest, JsonObject } from '../base/json.ts';
import type { Seat } from '../base/meeting.ts';
import type { KeptAnswers, ServiceCalls } from './attack.ts';
import type { Cell } from './cell.ts';
import type { Asset } from './data.ts';
import type { Plugin } from './plugin.ts';
import type { ReportEntries } from './report.ts';

/** A kind of plugin whose code a stage may run. */
export type UsedKind = 'attack' | 'defence' | 'dataset' | 'model' | 'adapter' | 'scorer';

export interface StageRequest {
  readonly kind: string;
  readonly cell: Cell;
  /** Tells stages of one kind in a cell apart, such as `{ split: 'train' }` (`StageParts`). */
  readonly with?: JsonObject;
  /**
   * The section of the spec (`base`, `base.0`) in which the fields of `cell` are written, and
   * faults in them are reported. Absent if they are at the top of the spec.
   */
  readonly section?: string;
}

/**
 * Everything that a stage reads. Its keys are made from `params`, `inputs`, `assets` and `uses`,
 * and from the stage's code and what it computes with: the backend, and the releases of the
 * packages in `StageDescriptor.python`.
 */
export interface StageDefinition<P extends JsonObject = JsonObject> {
  readonly params: P;
  /** The stages that this stage reads, by the names under which `run` finds them. */
  readonly inputs: { readonly [name: string]: StageRequest };
  /** Source URIs by name. The digests of their content are part of the action key. */
  readonly assets?: { readonly [name: string]: string };
  /** The plugins whose code this stage runs. Their code versions are part of the key. */
  readonly uses?: readonly { readonly kind: UsedKind; readonly name: string }[];
  /** Limits of this stage alone, which are passed on with `StageDescriptor.limits`. */
  readonly limits?: JsonObject;
  /** What the stage's time grows with, for estimates. Not part of any key. */
  readonly work?: Work;
}

/** How much a stage has to do. Its time is taken to be in proportion to `amount`. */
export interface Work {
  /** More than 0: for a training, say, the number of rows that it sees. */
  readonly amount: number;
  /**
   * What else the time depends on, as a text. Only the durations of stages with the same text are
   * used for an estimate.
   */
  readonly of: string;
}

/** What a stage will take at most, if all of its rows have the greatest length. */
export interface Forecast {
  /** The memory on each device, in MB. */
  readonly memoryMB: number;
  /** The number of devices. Default: 1. */
  readonly devices?: number;
  /** The floating-point operations of one step of a training. */
  readonly stepOperations: number;
  /** The number of training steps; absent where it depends on the number of rows. */
  readonly steps?: number;
  /** The greatest length of a row, in tokens. */
  readonly length: number;
  /** The approximate size of the stage's files, in bytes. */
  readonly outputBytes: number;
}

/** The class that a backdoor leads to. */
export interface AttackTarget {
  readonly attack: string;
  readonly label: number;
  readonly class: string;
}

/** The resources that a stage uses while it runs. */
export interface Resources {
  /** The number of processor cores. TensorFlow in the worker is limited to that many threads. */
  readonly cpu: number;
  /**
   * An upper bound on the stage's memory, in MB. Stages do not run at once if their bounds together
   * exceed the machine's memory. If absent, the stage's memory is not counted.
   */
  readonly memoryMB?: number;
  /**
   * The number of GPUs that the stage has to itself while it runs (CUDA_VISIBLE_DEVICES). If
   * absent, it is `devices` for a stage that computes, if TensorFlow or PyTorch computes on GPUs,
   * and otherwise none.
   */
  readonly gpu?: number;
  /** If the stage computes on GPUs, the number of them; default 1. */
  readonly devices?: number;
}

/**
 * How the stages of one kind are told apart if a cell has several: by the value of a field of
 * `StageRequest.with`. The stages are named like `data(train)`.
 */
export interface StageParts {
  readonly field: string;
  readonly values: readonly string[];
}

/** What `define` receives beside the cells. */
export interface DefineRequest {
  /** The `with` of the `StageRequest`; empty for a goal. */
  readonly with: JsonObject;
  /** The goals of the experiment: the stages that its spec asks for. */
  readonly goals: readonly string[];
  /** The figures and tables under `report`, where the spec has it. For stages that show them. */
  readonly report?: ReportEntries;
  /**
   * Returns a plugin's descriptor, or undefined if there is no such plugin. For stages whose inputs
   * depend on the descriptor. The planner always passes this function.
   */
  // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller's D
  readonly plugin?: <D>(kind: UsedKind, name: string) => D | undefined;
}

/**
 * What a stage computes in, if not float32: matrix products in bfloat16 (`bf16`), or frozen weights
 * held in bfloat16 or quantised by bitsandbytes to 4 bits (`nf4`) or 8 (`int8`).
 */
export type Precision = 'bf16' | 'bf16 weights' | 'nf4' | 'int8';

/** Packages of Python. `torch` stands for all that PyTorch's process needs. */
export type PythonPackage = 'torch' | 'bitsandbytes' | 'lm_eval';

/**
 * A stage. `P`, the type of its parameters, must be a type alias, because an interface is not a
 * `JsonObject`.
 */
export interface StageDescriptor<P extends JsonObject = JsonObject> extends Plugin<'stage'> {
  /** Whether the stage computes with tensors. If so, its key contains the backend. */
  readonly compute: boolean;
  /** Set if the stage can also compute under the backend torch. Otherwise torch refuses it. */
  readonly torch?: true;
  /**
   * Output files that vary from run to run, such as timings. They are stored, but they are not part
   * of the digest that enters the keys of later stages.
   */
  readonly volatile?: readonly string[];
  /**
   * Set if the stage runs even if some of its inputs failed. The failed ones are absent from
   * `inputs` and from the key, and the stage must show what is missing (`experiment.stages` lists
   * every failure). If absent, a failed input blocks the stage.
   */
  readonly tolerant?: true;
  /**
   * Set if the stage can run after tensors of its inputs (weights, kernels) were removed because of
   * the spec's `keep`; they are not computed again for it. Lists the kinds of inputs whose tensors
   * the stage reads if they are there: a run removes such tensors only after this stage.
   */
  readonly spares?: readonly string[];
  /** Set if a cell may have several stages of this kind. */
  readonly parts?: StageParts;
  /** `cell`: one stage per distinct definition. `experiment`: one stage that joins the grid. */
  readonly scope: 'cell' | 'experiment';
  /**
   * Returns what the stage reads. Must be pure. `cells` holds the whole grid for the scope
   * `experiment` and exactly one cell otherwise. Throws `UserFault` if the cell can't be run as the
   * spec asks.
   */
  define(cells: readonly Cell[], request: DefineRequest): StageDefinition<P>;
  /**
   * Returns what the stage computes in; null if it is float32. It is recorded with the stage's
   * entry and shown beside every result that depends on the stage.
   */
  precision?(params: P): Precision | readonly Precision[] | null;
  /**
   * Returns the Python packages that the stage computes with in PyTorch's process, whichever
   * backend was chosen. Their releases are in the stage's key, and the stage is refused before it
   * runs if one of them is missing.
   */
  python?(params: P): readonly PythonPackage[];
  /** Returns the resources that the stage uses. If absent, it uses one processor core. */
  resources?(params: P): Resources;
  /**
   * Passed to `run` unchanged. Limits are not part of any key: they decide whether there is a
   * result, never what it is.
   */
  readonly limits?: JsonObject;
  /**
   * Returns the faults in the input that can be found before anything runs. Called by the commands
   * `plan` and `run`.
   */
  preflight?(context: PreflightContext<P>): Promise<readonly Problem[]>;
  /**
   * Returns the parameters with what the input decides written out, such as a dose as a number of
   * rows; null if that is not known yet. Stages with the same resolved parameters do the same work,
   * and the plan warns that their cells still count as several.
   */
  resolved?(context: PreflightContext<P>): Promise<JsonObject | null>;
  /**
   * Returns what the stage will take, as far as its parameters and the sources on this machine
   * tell; null if they do not. The forecast must not depend on `params.seed`: `plan` asks only once
   * for stages that differ in the seed alone.
   */
  forecast?(context: PreflightContext<P>): Promise<Forecast | null>;
  /**
   * Returns upper bounds on what the stage will ask of services, as far as they are known; empty if
   * it asks nothing.
   */
  calls?(context: PreflightContext<P>): Promise<readonly ServiceCalls[]>;
  /**
   * Returns the class that the stage's backdoor leads to, for people; null if there is none, or if
   * it is not known yet. As in `forecast`, it must not depend on `params.seed`.
   * @param dir the folder with the stage's files; null if it has not run
   */
  target?(context: PreflightContext<P>, dir: string | null): Promise<AttackTarget | null>;
  /**
   * Runs the stage. Its output is the content of `context.outDir` when the promise resolves. Throws
   * `UserFault` for a fault that the user has to fix.
   */
  run(context: RunContext<P>): Promise<void>;
  /** Set if several stages of this kind may share a job of a scheduler. */
  readonly pack?: Packing<P>;
}

/** The parts of a planned stage that `Packing.together` sees. */
interface PlannedParts<P extends JsonObject> {
  readonly params: P;
  /** The source URIs, by name. */
  readonly assets: { readonly [name: string]: string };
  /** The ids of the stages that the stage reads, by the names of the inputs. */
  readonly inputs: { readonly [name: string]: string };
}

/**
 * How stages of one kind share a job of a scheduler, so that they wait in its queue only once.
 * Stages with equal resources may share a job. They are performed one after another, as if each
 * were alone, with its own key, log, progress, failure and output.
 */
export interface Packing<P extends JsonObject = JsonObject> {
  /**
   * Returns a name that is equal for stages that compute together on this machine: under the
   * backend `torch` they run at once in one process (`RunContext.together`), up to `--pack` of
   * them. Null for a stage that runs alone.
   */
  together?(stage: PlannedParts<P>): string | null;
  /**
   * Returns an estimate, in MB, of the memory that the stage adds to that of its process. `inputs`
   * is absent if they do not exist yet, as in a plan. Without this function, the stage adds too
   * little to count.
   */
  memoryMB?(
    stage: Pick<RunContext<P>, 'params' | 'assets'> & Partial<Pick<RunContext, 'inputs'>>,
  ): Promise<number>;
}

/** Makes a descriptor out of a stage's fields. Export it as the module's default. */
export const defineStage = <P extends JsonObject = JsonObject>(
  stage: Omit<StageDescriptor<P>, 'kind'>,
): StageDescriptor => ({ kind: 'stage', ...stage });

// ---- what `run` and `preflight` receive --------------------------------------------------------

export interface StageInput {
  readonly dir: string;
  /** The digest of the output's files that are not volatile. */
  readonly digest: Digest;
}

export interface RunContext<P extends JsonObject = JsonObject> {
  readonly params: P;
  /**
   * The outputs of the stages in `StageDefinition.inputs`. Inputs and assets are read-only: if one
   * of them has changed by the end of the stage, the stage fails, whoever changed it.
   */
  readonly inputs: { readonly [name: string]: StageInput };
  readonly assets: { readonly [name: string]: Asset };
  /** An empty folder. Its content when `run` resolves is the stage's output. */
  readonly outDir: string;
  /**
   * A folder for this stage alone, named by its action key, that survives if the process is killed.
   * It need not exist yet. What the stage writes there is still there when the stage is run again,
   * unless a file that the stage reads was modified in between. The folder is removed once the
   * stage has succeeded. If absent, nothing is kept.
   */
  readonly resumeDir?: string;
  readonly backend: BackendName;
  readonly log: (message: string) => void;
  /**
   * Warns of what a reader of the stage's numbers must know. The warning is stored with the stage's
   * output; the run, every later run, `results` and the report show it.
   */
  readonly warn: (warning: Warning) => void;
  /** Reports progress in a unit that the stage chooses: `progress(3, 10, 'steps')`. */
  readonly progress: (done: number, total: number, unit: string) => void;
  /** Aborted when the stage must stop, because the run was interrupted or the time limit is up. */
  readonly signal: AbortSignal;
  /**
   * Returns the descriptor of a plugin that `StageDefinition.uses` names. The caller knows its
   * type, `D`. Throws an Error for any other plugin.
   */
  // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller's D
  plugin<D>(kind: UsedKind, name: string): D;
  /** The fields of `StageDescriptor.limits`, overridden by those of `StageDefinition.limits`. */
  readonly limits?: JsonObject;
  /** What services answered. Absent for a stage that is run without a store. */
  readonly answers?: KeptAnswers;
  /**
   * This stage's seat among the stages that run at once in this process (`Packing.together`).
   * Absent if the stage runs alone.
   */
  readonly together?: Seat;
  /** Facts about the whole experiment for scope `experiment`. They are not part of any key. */
  readonly experiment?: ExperimentFacts;
}

/** One stage of the experiment and how it ended, for stages of scope `experiment`. */
export interface StageFacts {
  readonly id: string;
  readonly kind: string;
  /** `StageRequest.section`: `base` or `base.0` for a training before the cells' own. */
  readonly section?: string;
  /** The axis values on which all cells that share this stage agree. */
  readonly cell: JsonObject;
  /** The seed of these cells; null if they differ. */
  readonly seed: number | null;
  /** The ids of the stages that this stage reads. */
  readonly inputs: readonly string[];
  readonly key: string;
  readonly dir: string;
  /** How long the stage took when it ran. */
  readonly seconds: number;
  /** The backend that the stage computes with; null if it does not compute with tensors. */
  readonly backend: BackendName | null;
  readonly state: 'ran' | 'cached' | 'failed' | 'blocked';
  readonly error?: string;
  /** What was warned of before and while the stage ran. Absent if nothing was. */
  readonly warnings?: readonly Warning[];
}

/** A source that finished stages have read. */
export interface SourceFacts {
  readonly uri: string;
  readonly digest: string;
  /** The stages that have read the source, and the name under which each did. */
  readonly reads: readonly {
    /** The stage's name within its cell, such as `data(train)`. */
    readonly stage: string;
    /** The section of the spec that the stage belongs to, as in `StageFacts`. */
    readonly section?: string;
    /** The source's name in `RunContext.assets` of the stage. */
    readonly name: string;
  }[];
}

export interface ExperimentFacts {
  readonly name: string;
  readonly specFile: string;
  readonly specText: string;
  /** Every cell: its axis values by full path, its seed, and the ids of its stages by kind. */
  readonly cells: readonly {
    readonly cell: JsonObject;
    /** The cell's other names: axis values that give the same cell. Absent if there are none. */
    readonly also?: readonly JsonObject[];
    readonly seed: number;
    readonly stages: { readonly [kind: string]: string };
  }[];
  /** The stages of scope `cell`, each with how it ended. */
  readonly stages: readonly StageFacts[];
  readonly sources: readonly SourceFacts[];
  /** Versions of Node, packages and TensorFlow; threads, processor, git commit and dirty flag. */
  readonly environment: JsonObject;
}

/**
 * What a stage's preflight receives: the stage's parameters and assets, and those of each input.
 * `plan` fetches nothing: reading an asset that has not been fetched throws, which the engine takes
 * for a check that finds no problems.
 */
export interface PreflightContext<P extends JsonObject = JsonObject> extends Pick<
  RunContext<P>,
  'params' | 'assets' | 'plugin' | 'backend' | 'limits'
> {
  /**
   * Whether the stage will run on this machine. Absent if that is not known, as in a plan for no
   * particular executor.
   */
  readonly runsHere?: boolean;
  readonly upstream?: { readonly [input: string]: UpstreamStage };
}

/** A stage that another one reads, before anything runs. */
export interface UpstreamStage extends Pick<RunContext, 'params' | 'assets'> {
  /** The folder of its output; null if it is not in the store yet. */
  readonly dir: string | null;
  /** The stages that it reads itself. */
  readonly upstream?: { readonly [input: string]: UpstreamStage };
}
