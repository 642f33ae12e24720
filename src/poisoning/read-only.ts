/**
 * Keeps attacks from writing to rows. If one could, a data set would change without a trace in the
 * receipt or in the evaluation.
 */
import type { Row } from '../api.ts';
import { UserFault } from '../api.ts';

/** The same rows, each of them frozen, in a new frozen list. */
export const readOnly = (rows: readonly Row[]): readonly Row[] =>
  Object.freeze(rows.map((row) => Object.freeze(row)));

/** V8's messages for a write to a frozen object or list. */
const WRITE = /^Cannot (assign to read only|add|define|redefine|delete) property/;

/**
 * Calls an attack. Throws `UserFault` if the attack writes to a frozen value, and otherwise
 * whatever the attack throws.
 */
export async function asking<T>(attack: string, call: () => T | Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof TypeError) || !WRITE.test(error.message)) throw error;
    throw new UserFault(
      `the attack "${attack}" wrote to what it may only read (${error.message})`,
      'the rows that an attack is handed are read-only: return copies, `{ ...row, text }` for a ' +
        'row, `[...rows]` for a list to sort or add to',
    );
  }
}
