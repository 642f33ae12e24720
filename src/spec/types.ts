/** What this folder returns for a spec's text: an Experiment, or a user's faults. */
import type { Cell, Json, JsonObject, JsonSchema, StageParts } from '../api.ts';
import type { ReportEntries } from '../api/report.ts';
import type { CommandSpec, KeepLevel } from './pipeline.generated.ts';

export type { KeepLevel };

/** A range in a line of a file. Lines and columns count from one; `endColumn` is exclusive. */
export interface SourceRange {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly endColumn: number;
  /** The line's text. */
  readonly text: string;
}

export interface Diagnostic {
  /** The kind of the fault: a stable name in kebab case, such as `unknown-key` or `wrong-type`. */
  readonly code: string;
  readonly message: string;
  /** Null if the fault is not at a place in a file. */
  readonly range: SourceRange | null;
  /** How to mend the fault: what was expected, or `did you mean "…"?`. */
  readonly hint?: string;
  /** True for a warning, which does not stop the run. */
  readonly warning?: true;
}

export type Result<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] };

export interface ExperimentCell {
  readonly config: Cell;
  /**
   * The cell's name: values by full path, and no positions in the grid. It has every scalar of
   * `poisoning`, `defence` and `adapter` (those of bases and defaults included), every list in them
   * that varies over the grid, and every other axis. An example:
   * `{"poisoning.attack": "badnets", "adapter.rank": 8, "train.learning_rate": 0.001}`.
   */
  readonly axes: JsonObject;
  /** The axes that vary over the grid, for people to read: `attack=badnets rank=8 seed=1`. */
  readonly label: string;
  /**
   * Other cells of the grid that are this cell under another name (`alpha: r`, `alpha: 16` at rank
   * 16). `Experiment.cells` leaves them out.
   */
  readonly also: readonly ExperimentCell[];
  /** Returns where a field of this cell was written; for a default, the nearest field around it. */
  locate(path: readonly (string | number)[]): SourceRange;
}

export interface Experiment {
  readonly name: string;
  /** Which profile was chosen, and the spec's `notes`; empty if there is neither. */
  readonly notes: string;
  readonly file: string;
  readonly text: string;
  /** The programs that are stages of this experiment. */
  readonly commands: readonly CommandStage[];
  /** The names of the environment variables whose values no record may hold. */
  readonly secrets: readonly string[];
  /** The stage kinds under `stages`. */
  readonly goals: readonly string[];
  /** What the store keeps of finished stages, by kind; everything for a kind that is left out. */
  readonly keep: { readonly [kind: string]: KeepLevel };
  readonly seeds: readonly number[];
  readonly cells: readonly ExperimentCell[];
  /** The figures and tables under `report`; absent if the spec has no `report`. */
  readonly report?: ReportEntries;
  /** What may be a mistake in the spec, but does not stop the run. */
  readonly warnings: readonly Diagnostic[];
  /** The spec with defaults filled in and axes as lists, as `runs/<id>/` records it. */
  readonly resolved: Json;
}

/** The part of a plugin that this folder needs. `params` is an object schema of its parameters. */
export interface PluginShape {
  readonly name: string;
  readonly params: JsonSchema;
  /** See `AdapterDescriptor.canonical`. */
  readonly canonical?: (params: JsonObject) => JsonObject;
}

/** The part of a stage's plugin that is needed to check a command that reads the stage. */
export interface StageForm {
  readonly scope: 'cell' | 'experiment';
  /** See `StageDescriptor.parts`. */
  readonly parts?: StageParts;
}

export interface CommandInput {
  /** The name in the spec: `train`, `data(train)`. */
  readonly name: string;
  readonly kind: string;
  readonly with: JsonObject;
  readonly scope: 'cell' | 'experiment';
}

/** An entry of `commands` with defaults filled in and `file:` paths absolute. */
export interface CommandStage extends Required<Omit<CommandSpec, 'inputs'>> {
  readonly name: string;
  readonly inputs: readonly CommandInput[];
  /**
   * The variables of the program's environment that hold a secret, each with the name of the
   * secret's variable in the run's environment. They are not in `env`.
   */
  readonly secrets: { readonly [variable: string]: string };
}

/** The part of the plugins that this folder needs. */
export interface SpecRegistry {
  readonly attacks: readonly PluginShape[];
  readonly adapters: readonly PluginShape[];
  /** Absent if there are none. */
  readonly defences?: readonly PluginShape[];
  /** Absent if there are none. */
  readonly scorers?: readonly PluginShape[];
  readonly stages: readonly string[];
  /**
   * The names under `data.tasks` of the spec that is read. If left out, any name is allowed, but
   * fields of tasks can't be axes.
   */
  readonly tasks?: readonly string[];
  /** The metrics that have a short name in `report`, as `STAGE.METRIC`. None if left out. */
  readonly metrics?: readonly string[];
  /**
   * Takes a `STAGE.METRIC`. Returns null if the stage may have this metric; otherwise names of
   * metrics to offer in its place. If this function is left out, every metric is accepted.
   */
  readonly metricsInstead?: (name: string) => readonly string[] | null;
  /** The form of each stage. A stage that is not listed belongs to a cell and has no parts. */
  readonly stageForms?: { readonly [stage: string]: StageForm };
  readonly models: readonly string[];
  readonly datasets: readonly string[];
  /** The URI schemes of the sources. */
  readonly sources: readonly string[];
}

export interface LoadOptions {
  /**
   * The registry, or a function that returns it for the absolute paths of the modules that the
   * spec's `plugins` names.
   */
  readonly registry: SpecRegistry | ((modules: readonly string[]) => Promise<SpecRegistry>);
  /** The name of one of the spec's profiles; if left out, no profile is merged over the spec. */
  readonly profile?: string | undefined;
  /** `--set` arguments: `path=value`, where the value is YAML. */
  readonly sets?: readonly string[];
  /**
   * `--only` arguments: a tag's name, or `path=value` with commas between several values. A cell is
   * kept if it matches every argument.
   */
  readonly only?: readonly string[];
  /** The environment in which `${env.NAME}` looks up the variables that the spec declares. */
  readonly env: Readonly<Record<string, string | undefined>>;
}
