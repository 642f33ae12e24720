import type { JsonObject } from '../../../src/api.ts';

type Scope = 'cell' | 'experiment';
type Texts = { readonly [name: string]: string };

/** What stays of a declaration in the stage's parameters as it is. */
type Declared = {
  readonly name: string;
  readonly scope: Scope;
  readonly run: readonly string[];
  readonly outputs: readonly string[];
  readonly options: JsonObject;
  readonly env: Texts;
  readonly pass_env: readonly string[];
  /**
   * Variables that hold a secret, by the name of the variable of ours that it is taken from. Their
   * values are in no key and no record.
   */
  readonly secrets: Texts;
};

/** The declaration under a spec's `commands`, which the engine hands over as `with`. */
export type Asked = Declared & {
  readonly inputs: readonly {
    readonly name: string;
    readonly kind: string;
    readonly with: JsonObject;
    readonly scope: Scope;
  }[];
  readonly fields: readonly string[];
  /** Source URIs. */
  readonly files: readonly string[];
};

export type Params = Declared & {
  /** By their own names. */
  readonly files: readonly string[];
  /** For each cell that it reads: the fields that the program is told, and its inputs. */
  readonly cells: readonly {
    readonly fields: JsonObject;
    /** Places below `inputs/`, by name. */
    readonly inputs: Texts;
  }[];
  /** Inputs that join the grid themselves: places below `inputs/`, by name. */
  readonly joined: Texts;
};

export type Limits = {
  readonly timeout_seconds: number;
  readonly output_mb: number;
};
