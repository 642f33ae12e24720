/** Phase 1, text → Experiment: what the spec phase hands on, and how it reports a user's faults. */
import type { Cell, Json, JsonObject, JsonSchema, Problem, StageParts } from '../api.ts';
import type { CommandSpec } from './pipeline.generated.ts';

/** Lines and columns count from one. */
export interface SourceRange {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly endColumn: number;
  /** The line's text. */
  readonly text: string;
}

export interface Diagnostic {
  /** Stable, kebab-case: `unknown-key`, `wrong-type`, … */
  readonly code: string;
  readonly message: string;
  /** Null where no place in a file is at fault (a command-line value says so in the message). */
  readonly range: SourceRange | null;
  /** The way out: what was expected, or `did you mean "…"?`. */
  readonly hint?: string;
  /** It stops nothing. */
  readonly warning?: true;
}

export type Result<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] };

/** One grid cell at one seed. */
export interface ExperimentCell {
  readonly config: Cell;
  /**
   * Its name, position-free: every scalar of `poisoning` and `adapter` by full path (defaults included), and every
   * other field that is an axis (`{"poisoning.attack": "badnets", "adapter.rank": 8, "train.learning_rate": 0.001}`).
   */
  readonly axes: JsonObject;
  /** The axes that vary over the grid, for people: `attack=badnets rank=8 seed=1`. */
  readonly label: string;
  /** Cells of the grid that are this one under another name (`alpha: 16` beside `alpha: r` at rank 16): left out of `Experiment.cells`. */
  readonly also: readonly ExperimentCell[];
  /** Where a field of this cell was written; the nearest enclosing field if it is a default. */
  locate(path: readonly (string | number)[]): SourceRange;
}

export interface Experiment {
  readonly name: string;
  readonly file: string;
  readonly text: string;
  /** Programs that are stages of this experiment. */
  readonly commands: readonly CommandStage[];
  /** Environment variables whose values must stand in no record. */
  readonly secrets: readonly string[];
  /** Goal stage kinds. */
  readonly goals: readonly string[];
  readonly seeds: readonly number[];
  readonly cells: readonly ExperimentCell[];
  /** The resolved spec (axes unexpanded, defaults filled in), for `runs/<id>/`. */
  readonly resolved: Json;
}

/** A plugin as the spec phase sees it: `params` is an object schema of its own parameters. */
export interface PluginShape {
  readonly name: string;
  readonly params: JsonSchema;
  /** `AdapterDescriptor.canonical`. */
  readonly canonical?: (params: JsonObject) => JsonObject;
}

/** How a stage stands in the DAG, for those who name it as an input. */
export interface StageForm {
  readonly scope: 'cell' | 'experiment';
  /** `StageDescriptor.parts`. */
  readonly parts?: StageParts;
}

export interface CommandInput {
  /** As the spec names it: `train`, `data(train)`. */
  readonly name: string;
  readonly kind: string;
  readonly with: JsonObject;
  readonly scope: 'cell' | 'experiment';
}

/** An entry of `commands`, defaults filled in, `file:` paths absolute. */
export interface CommandStage extends Required<Omit<CommandSpec, 'inputs'>> {
  readonly name: string;
  readonly inputs: readonly CommandInput[];
  /** Variables of its environment that hold a secret, by the name that the secret has in ours; not in `env`. */
  readonly secrets: { readonly [variable: string]: string };
}

/** The little that the spec phase needs to know of the plugins. */
export interface SpecRegistry {
  readonly attacks: readonly PluginShape[];
  readonly adapters: readonly PluginShape[];
  /** Names. */
  readonly stages: readonly string[];
  /** By stage; one that is not here is of a cell and has no parts. */
  readonly stageForms?: { readonly [stage: string]: StageForm };
  readonly models: readonly string[];
  readonly datasets: readonly string[];
  /** URI schemes. */
  readonly sources: readonly string[];
}

export interface LoadOptions {
  /** Or how to make one, given the absolute paths of the modules that the spec's `plugins` names. */
  readonly registry: SpecRegistry | ((modules: readonly string[]) => Promise<SpecRegistry>);
  /** `--set` values: `path=value`, the value in YAML. */
  readonly sets?: readonly string[];
  /** `--only` values: a tag's name, or `path=value` (several values with commas). A cell is kept if it matches all. */
  readonly only?: readonly string[];
  /** What `${env.NAME}` reads, for the names that the spec declares. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

export type { Problem };
