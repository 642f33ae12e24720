/** Rows as an attack is handed them: to read. What it wrote into them would change a data set unseen by receipt and evaluation. */
import type { Row } from '../api.ts';
import { UserFault } from '../api.ts';

/** The same rows, each frozen, in a frozen list of their own. */
export const readOnly = (rows: readonly Row[]): readonly Row[] =>
  Object.freeze(rows.map((row) => Object.freeze(row)));

/** How V8 words a write to what is frozen: a field, an item of a list, a new one, one that is removed. */
const WRITE =
  /^Cannot (assign to read only property|add property|define property|redefine property|delete property)/;

/**
 * Calls an attack.
 * @throws UserFault where it writes to what it was handed; whatever else it throws
 */
export async function asking<T>(attack: string, call: () => T | Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof TypeError) || !WRITE.test(error.message)) throw error;
    throw new UserFault(
      `the attack "${attack}" wrote to what it may only read (${error.message})`,
      'the rows that an attack is handed are read-only: return copies, `{ ...row, text }` for a row, `[...rows]` for a list to sort or add to',
    );
  }
}
