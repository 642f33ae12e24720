/** What a stage receives when it runs and, before that, when it is checked. */
import type { Warning } from '../base/fault.ts';
import type { BackendName, Digest, JsonObject } from '../base/json.ts';
import type { Asset } from './source.ts';
import type { UsedKind } from './stage.ts';

/** The output of another stage. */
export interface StageInput {
  readonly dir: string;
  /** The digest of its files that are not volatile. */
  readonly digest: Digest;
}

export interface RunContext<P extends JsonObject = JsonObject> {
  /** `StageDefinition.params`. */
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
  /** Writes a line to the stage's log. */
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
  /** `StageDescriptor.limits`. */
  readonly limits?: JsonObject;
  /**
   * Facts about the whole experiment, for stages of scope `experiment`. They are not part of any
   * key.
   */
  readonly experiment?: ExperimentFacts;
}

/** What is known about one stage of the experiment. */
export interface StageFacts {
  readonly id: string;
  readonly kind: string;
  /** The axis values on which all cells that share this stage agree. */
  readonly cell: JsonObject;
  /** The seed of these cells; null if they differ. */
  readonly seed: number | null;
  /** The ids of the stages that it reads. */
  readonly inputs: readonly string[];
  readonly key: string;
  readonly dir: string;
  /** How long it took when it ran. */
  readonly seconds: number;
  /** Null for a stage that does not compute. */
  readonly backend: BackendName | null;
  readonly state: 'ran' | 'cached' | 'failed' | 'blocked';
  readonly error?: string;
  /** What was warned of before and while the stage ran. Absent if nothing was. */
  readonly warnings?: readonly Warning[];
}

export interface ExperimentFacts {
  readonly name: string;
  readonly specFile: string;
  readonly specText: string;
  /** Every cell: its axis values by full path, its seed, and the ids of its stages by kind. */
  readonly cells: readonly {
    readonly cell: JsonObject;
    /** Its other names: axis values that resolve to the same cell. Absent if there are none. */
    readonly also?: readonly JsonObject[];
    readonly seed: number;
    readonly stages: { readonly [kind: string]: string };
  }[];
  readonly stages: readonly StageFacts[];
  /**
   * The versions of Node, packages and TensorFlow, and the threads, processor, git commit and dirty
   * flag.
   */
  readonly environment: JsonObject;
}

/**
 * What a stage's preflight receives: the stage's parameters and assets, and those of each input.
 * `plan` fetches nothing, so reading an asset that has not been fetched ends the check without a
 * fault.
 */
export interface PreflightContext<P extends JsonObject = JsonObject> extends Pick<
  RunContext<P>,
  'params' | 'assets' | 'plugin' | 'backend'
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
