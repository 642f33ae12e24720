/** Phase 1, text → Experiment: what the spec phase hands on, and how it reports a user's faults. */
import type { Cell, Json, JsonObject, Problem } from '../api.ts';

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
}

export type Result<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] };

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
  /** Where a field of this cell was written; the nearest enclosing field if it is a default. */
  locate(path: readonly (string | number)[]): SourceRange;
}

export interface Experiment {
  readonly name: string;
  readonly file: string;
  readonly text: string;
  /** Goal stage kinds. */
  readonly goals: readonly string[];
  readonly seeds: readonly number[];
  readonly cells: readonly ExperimentCell[];
  /** The resolved spec (axes unexpanded, defaults filled in), for `runs/<id>/`. */
  readonly resolved: Json;
}

export type { Problem };
