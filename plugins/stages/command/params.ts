import type { JsonObject } from '../../../src/api.ts';

type Scope = 'cell' | 'experiment';
type Texts = { readonly [name: string]: string };

/** The part of a declaration that enters the stage's parameters unchanged. */
type Declared = {
  readonly name: string;
  readonly scope: Scope;
  readonly run: readonly string[];
  readonly outputs: readonly string[];
  readonly options: JsonObject;
  readonly env: Texts;
  readonly pass_env: readonly string[];
  /**
   * The program's variables that hold a secret, each with the name of the variable of this process
   * from which it is taken. Their values are in no key and no record.
   */
  readonly secrets: Texts;
};

/** The declaration under a spec's `commands`, which the engine passes as `with`. */
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
  /** The files, by file name. */
  readonly files: readonly string[];
  /**
   * For each cell that the stage reads: the fields whose values the program gets, and the inputs.
   */
  readonly cells: readonly {
    readonly fields: JsonObject;
    /** Where each input lies below `inputs/`, by the name of the input. */
    readonly inputs: Texts;
  }[];
  /** Likewise for the inputs that are made once for the whole grid. */
  readonly joined: Texts;
};

export type Limits = {
  readonly timeout_seconds: number;
  readonly output_mb: number;
};
