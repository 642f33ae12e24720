/** Faults that the user has to fix: as a value (`Problem`), or as an error (`UserFault`). */
import { defined } from './defined.ts';

/** A fault in the user's input. The engine adds file, line and column. */
export interface Problem {
  /** The field of the spec with the fault: `['adapter', 'rank']`. */
  readonly path: readonly (string | number)[];
  /** What is wrong: one sentence that does not say where. */
  readonly message: string;
  /** How to fix it: one sentence. */
  readonly hint?: string;
  /** Set on a warning, which does not stop the run. It is printed, and stored with the result. */
  readonly warning?: true;
}

/** A warning as it is stored beside the numbers that it is about. */
export type Warning = Omit<Problem, 'warning'>;

/**
 * The error for a fault in the user's input, which the engine and plugins throw. It is printed
 * without a stack. Anything else that a plugin throws is reported as a fault of its code, with file
 * and line.
 */
export class UserFault extends Error {
  override readonly name = 'UserFault';
  /**
   * @param message what is wrong: one sentence that does not say where
   * @param hint how to fix it: one sentence
   * @param path the field of the spec with the fault, as in `Problem`; read only if
   *   `define` or `preflight` of a stage throws the error
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
 * Turns a `UserFault` into a `Problem` at `path`, and rethrows anything else. A `UserFault` is
 * recognised by its name, because each plugin bundle may contain its own copy of the class.
 */
export function problemOf(error: unknown, path: Problem['path']): Problem {
  if (!(error instanceof Error) || error.name !== 'UserFault') throw error;
  const { message, hint } = error as Pick<UserFault, 'message' | 'hint'>;
  return { path, message, ...defined({ hint }) };
}

/** Replaces numbers in a text by #, so that warnings that differ only in numbers become equal. */
export const withoutNumbers = (text: string): string => text.replaceAll(/\d+(?:\.\d+)?/g, '#');
