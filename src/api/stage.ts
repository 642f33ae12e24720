/** A stage: what it reads, and how it is planned, checked and run. */
import type { Cell } from './cell.ts';
import type { Problem } from './fault.ts';
import type { JsonObject } from './json.ts';
import type { Plugin } from './plugin.ts';
import type { PreflightContext, RunContext } from './run-context.ts';

/** A kind of plugin whose code a stage may run. */
export type UsedKind = 'attack' | 'dataset' | 'model' | 'adapter';

/** Another stage whose output this stage reads. */
export interface StageRequest {
  readonly kind: string;
  readonly cell: Cell;
  /** Narrows the kind: `{ split: 'train' }`. */
  readonly with?: JsonObject;
  /**
   * The section of the requesting cell that this cell's fields come from (`base`), where they are
   * not the cell's own. A fault in them is reported at that section.
   */
  readonly section?: string;
}

/** Everything that a stage reads. Its keys are made of this and of nothing else. */
export interface StageDefinition<P extends JsonObject = JsonObject> {
  readonly params: P;
  /** The stages that it reads, by the name under which `run` finds them. */
  readonly inputs: { readonly [name: string]: StageRequest };
  /** Source URIs by name. The digest of their content is part of the action key. */
  readonly assets?: { readonly [name: string]: string };
  /** The plugins whose code this stage runs. Their code version is part of the key. */
  readonly uses?: readonly { readonly kind: UsedKind; readonly name: string }[];
}

/** What a stage takes of the machine while it runs. */
export interface Resources {
  /** Processor cores. TensorFlow's threads in the worker are limited to as many. */
  readonly cpu: number;
  /**
   * An upper bound on its memory, in MB. Stages whose sum is above the machine's memory do not run
   * at once. If absent, its memory is not counted.
   */
  readonly memoryMB?: number;
  /**
   * GPUs that it has to itself while it runs (CUDA_VISIBLE_DEVICES). If absent, one for a stage
   * that computes, where TensorFlow computes on GPUs; else none.
   */
  readonly gpu?: number;
}

/**
 * How the stages of one kind are told apart where a cell has several: by a field of
 * `StageRequest.with` and its values. They are named `data(train)`.
 */
export interface StageParts {
  readonly field: string;
  readonly values: readonly string[];
}

/** What `define` is handed beside the cells. */
export interface DefineRequest {
  /** `StageRequest.with`; empty for a goal. */
  readonly with: JsonObject;
  /** The goals of the experiment: the stages that its spec asks for. */
  readonly goals: readonly string[];
  /**
   * A plugin's descriptor, for a stage that reads more or less depending on it; undefined if there
   * is no such plugin. The planner always passes this function.
   */
  // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller's D
  readonly plugin?: <D>(kind: UsedKind, name: string) => D | undefined;
}

/**
 * A stage. `P` is the type of its parameters. It must be a type alias, because an interface is not
 * a `JsonObject`.
 */
export interface StageDescriptor<P extends JsonObject = JsonObject> extends Plugin<'stage'> {
  /** Whether it computes with tensors. If so, its key contains the backend. */
  readonly compute: boolean;
  /**
   * Output files that vary from run to run, such as timings. They are stored, but are not part of
   * the digest that the keys of later stages contain.
   */
  readonly volatile?: readonly string[];
  /**
   * Set if the stage runs although some of its inputs failed. `inputs` lacks these, the key covers
   * the others, and the stage must show what is missing (`experiment.stages` has every failure).
   * If absent, a failed input blocks the stage.
   */
  readonly tolerant?: true;
  /**
   * Set if the stage runs in the scheduler's process, which saves about a millisecond: for stages
   * that only handle a few files. What it throws is its failure, as elsewhere. But nothing can end
   * it while it computes, what it prints goes to the terminal (use `log`), and it must neither exit
   * the process nor change its working folder.
   */
  readonly inline?: true;
  /** Set if a cell may have several stages of this kind. */
  readonly parts?: StageParts;
  /**
   * `cell`: one stage for each distinct definition. `experiment`: one stage that joins the grid.
   */
  readonly scope: 'cell' | 'experiment';
  /**
   * What the stage reads. Pure. `cells` holds the whole grid for the scope `experiment`, and
   * exactly one cell otherwise. Throws `UserFault` if the cell can't be run as the spec asks.
   */
  define(cells: readonly Cell[], request: DefineRequest): StageDefinition<P>;
  /** What the stage takes of the machine. If absent, one processor core. */
  resources?(params: P): Resources;
  /**
   * Handed to `run` unchanged. Limits are part of no key: they decide whether a result is obtained,
   * never what it is.
   */
  readonly limits?: JsonObject;
  /** Faults in the input that can be seen before anything runs. Called by `plan` and by `run`. */
  preflight?(context: PreflightContext<P>): Promise<readonly Problem[]>;
  /**
   * Runs the stage. Its output is what lies in `context.outDir` when the promise resolves. Throws
   * `UserFault` for a fault that is the user's to mend.
   */
  run(context: RunContext<P>): Promise<void>;
  /** Set if several stages of this kind may run as one job. */
  readonly pack?: Packing<P>;
}

/**
 * How stages of one kind that share most of their work, such as adapters over one frozen base, run
 * as one job. Each keeps its own key, log, progress, failure and output. Packing is part of no key:
 * it may change the last bits of a result and nothing else.
 */
export interface Packing<P extends JsonObject = JsonObject> {
  /** Stages with equal keys may share a job; one whose key is null runs alone. Pure. */
  key(stage: Pick<StageDefinition<P>, 'params' | 'assets' | 'inputs'>): string | null;
  /**
   * An estimate, in MB, of the most that one more stage adds to the job's memory. `inputs` is
   * absent while they have not been made, as in a plan. The function is absent if that is
   * too little to count.
   */
  memoryMB?(
    stage: Pick<RunContext<P>, 'params' | 'assets'> & Partial<Pick<RunContext, 'inputs'>>,
  ): Promise<number>;
  /**
   * Returns one promise for each stage, in order. It settles when that stage is done, and is
   * rejected as `StageDescriptor.run` would be, whatever becomes of the others.
   */
  run(contexts: readonly RunContext<P>[]): readonly Promise<void>[];
}

/** Makes a descriptor out of a stage's fields; it should be its module's default export. */
export const defineStage = <P extends JsonObject = JsonObject>(
  stage: Omit<StageDescriptor<P>, 'kind'>,
): StageDescriptor => ({ kind: 'stage', ...stage });
