/**
 * Faults that are the user's to mend: as a value (`Problem`) and as what a plugin throws
 * (`UserFault`).
 */

/** A fault in the user's input. The engine adds file, line and column. */
export interface Problem {
  /** The field of the spec that it concerns: `['adapter', 'rank']`. */
  readonly path: readonly (string | number)[];
  /** What is wrong: one sentence, without the place. */
  readonly message: string;
  /** The way out: one sentence. */
  readonly hint?: string;
  /** Set on a warning, which is printed and stops nothing. */
  readonly warning?: true;
}

/**
 * What a plugin throws for a fault of the user's. It is printed without a stack; anything else that
 * a plugin throws is reported as an internal error.
 */
export class UserFault extends Error {
  override readonly name = 'UserFault';
  /**
   * @param message what is wrong: one sentence, without the place
   * @param hint the way out: one sentence
   * @param path the field of the spec that it concerns, as in `Problem`; only read where
   *   `StageDescriptor.define` throws it
   */
  constructor(
    message: string,
    readonly hint?: string,
    readonly path?: Problem['path'],
  ) {
    super(message);
  }
}

/**
 * Turns a `UserFault` into a `Problem` at `path`; throws anything else again. It goes by the
 * error's name, not its class: plugins are bundled apart, and each bundle may have a class of its
 * own.
 */
export function problemOf(error: unknown, path: Problem['path']): Problem {
  if (!(error instanceof Error) || error.name !== 'UserFault') throw error;
  const { message, hint } = error as Pick<UserFault, 'message' | 'hint'>;
  return { path, message, ...(hint === undefined ? {} : { hint }) };
}
