/**
 * Keeps attacks and defences from writing to the rows that they are handed: no receipt and no
 * evaluation would show what they wrote.
 */
import { type Row, UserFault } from '../api.ts';

/** Freezes the rows and their messages, and returns the rows in a new frozen list. */
export const readOnly = (rows: readonly Row[]): readonly Row[] =>
  Object.freeze(
    rows.map((row) => {
      for (const message of row.context ?? []) Object.freeze(message);
      Object.freeze(row.context);
      return Object.freeze(row);
    }),
  );

/** V8's messages for a write to a frozen object or list. */
const WRITE = /^Cannot (assign to read only|add|define|redefine|delete) property/;

/**
 * Calls an attack or a defence. If it writes to a frozen value, throws a `UserFault` whose cause is
 * V8's error, which has the line of code. Any other error is passed on as it is.
 */
export async function callReadOnly<T>(
  name: string,
  call: () => T | Promise<T>,
  kind: 'attack' | 'defence' = 'attack',
): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof TypeError) || !WRITE.test(error.message)) throw error;
    const fault = new UserFault(
      `the ${kind} "${name}" wrote to what it may only read (${error.message})`,
      `the rows that ${kind === 'attack' ? 'an attack' : 'a defence'} is handed are read-only: ` +
        'return copies, `{ ...row, text }` for a row, `[...rows]` for a list to sort or add to',
    );
    throw Object.assign(fault, { cause: error });
  }
}
