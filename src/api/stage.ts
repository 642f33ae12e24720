/** A stage: what it reads and how it is planned, checked and run. */
import type { Problem } from '../base/fault.ts';
import type { JsonObject } from '../base/json.ts';
import type { Cell } from './cell.ts';
import type { Plugin } from './plugin.ts';
import type { PreflightContext, RunContext } from './run-context.ts';

/** A kind of plugin whose code a stage may run. */
export type UsedKind = 'attack' | 'defence' | 'dataset' | 'model' | 'adapter' | 'scorer';

/** Another stage whose output this stage reads. */
export interface StageRequest {
  readonly kind: string;
  readonly cell: Cell;
  /** Narrows the kind: `{ split: 'train' }`. */
  readonly with?: JsonObject;
  /**
   * The section of the requesting cell from which this cell's fields were taken (`base`), if they
   * are not its own. A fault in them is reported at that section.
   */
  readonly section?: string;
}

/** Everything that a stage reads. Its keys are made from this and nothing else. */
export interface StageDefinition<P extends JsonObject = JsonObject> {
  readonly params: P;
  /** The stages that this stage reads, by the names under which `run` finds them. */
  readonly inputs: { readonly [name: string]: StageRequest };
  /** Source URIs by name. The digests of their content are part of the action key. */
  readonly assets?: { readonly [name: string]: string };
  /** The plugins whose code this stage runs. Their code versions are part of the key. */
  readonly uses?: readonly { readonly kind: UsedKind; readonly name: string }[];
}

/** What a stage will take at most, if all of its rows have the greatest length. */
export interface Forecast {
  readonly memoryMB: number;
  /** The floating-point operations of one step of a training. */
  readonly stepOperations: number;
  /** How many bytes its files have, about. */
  readonly outputBytes: number;
}

/** The class that a backdoor leads to. */
export interface AttackTarget {
  readonly attack: string;
  readonly label: number;
  /** The label's name. */
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
   * absent, it is one for a stage that computes, if TensorFlow computes on GPUs, and otherwise
   * none.
   */
  readonly gpu?: number;
}

/**
 * How the stages of one kind are told apart if a cell has several: by a field of
 * `StageRequest.with` and its values. They are named like `data(train)`.
 */
export interface StageParts {
  readonly field: string;
  readonly values: readonly string[];
}

/** What `define` receives beside the cells. */
export interface DefineRequest {
  /** `StageRequest.with`; empty for a goal. */
  readonly with: JsonObject;
  /** The goals of the experiment: the stages that its spec asks for. */
  readonly goals: readonly string[];
  /**
   * Returns a plugin's descriptor, or undefined if there is no such plugin. For stages whose inputs
   * depend on the descriptor. The planner always passes this function.
   */
  // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller's D
  readonly plugin?: <D>(kind: UsedKind, name: string) => D | undefined;
}

/**
 * A stage. `P`, the type of its parameters, must be a type alias, because an interface is not a
 * `JsonObject`.
 */
export interface StageDescriptor<P extends JsonObject = JsonObject> extends Plugin<'stage'> {
  /** Whether the stage computes with tensors. If so, its key contains the backend. */
  readonly compute: boolean;
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
   * Set if the stage runs in the scheduler's process, which saves about a millisecond. Meant for
   * stages that only handle a few files. If the stage throws, it has failed, as elsewhere. But
   * nothing can stop it while it computes, what it prints goes to the terminal (use `log`), and it
   * must neither exit the process nor change the working folder. Its inputs are checked only after
   * it has run; if some were damaged, they are made again, and it is run again.
   */
  readonly inline?: true;
  /** Set if a cell may have several stages of this kind. */
  readonly parts?: StageParts;
  /**
   * `cell`: one stage for each distinct definition. `experiment`: one stage that joins the grid.
   */
  readonly scope: 'cell' | 'experiment';
  /**
   * Returns what the stage reads. Must be pure. `cells` holds the whole grid for the scope
   * `experiment` and exactly one cell otherwise. Throws `UserFault` if the cell can't be run as the
   * spec asks.
   */
  define(cells: readonly Cell[], request: DefineRequest): StageDefinition<P>;
  /**
   * Returns what the stage's matrix products are computed in, if it is not float32: `bf16`. It is
   * recorded with the stage's entry and shown beside every result that depends on it.
   */
  precision?(params: P): 'bf16' | null;
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
   * Returns what the stage will take, as far as its parameters and the sources on this machine
   * tell; null if they do not. It may not depend on `params.seed`: `plan` asks once for stages that
   * differ in that alone.
   */
  forecast?(context: PreflightContext<P>): Promise<Forecast | null>;
  /**
   * Returns the class that the stage's backdoor leads to, for people; null if there is none, or if
   * it is not known yet. It may not depend on `params.seed`, as in `forecast`.
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

/**
 * How stages of one kind share a job of a scheduler, in whose queue each job has to wait. Stages
 * with equal resources may; they are performed one after another, each as it is alone, with its own
 * key, log, progress, failure and output.
 */
export interface Packing<P extends JsonObject = JsonObject> {
  /**
   * Returns an estimate, in MB, of the most that one more stage adds to the job's memory. `inputs`
   * is absent if they do not exist yet, as in a plan. This function is absent if a further stage
   * adds too little to count.
   */
  memoryMB?(
    stage: Pick<RunContext<P>, 'params' | 'assets'> & Partial<Pick<RunContext, 'inputs'>>,
  ): Promise<number>;
}

/** Makes a descriptor out of a stage's fields. Export it as the module's default. */
export const defineStage = <P extends JsonObject = JsonObject>(
  stage: Omit<StageDescriptor<P>, 'kind'>,
): StageDescriptor => ({ kind: 'stage', ...stage });
