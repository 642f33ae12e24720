/** How many rows an attack asks for, and which rows it gets (attacks.md, common rules). */
import { UserFault } from '../api.ts';
import type { AttackInput, Row } from '../api.ts';

/** A share of the training rows, or a count, which wins. One of them is given: an attack's schema has a default share. */
export interface Dose {
  readonly rate?: number;
  readonly count?: number;
}

/**
 * ⌊rate·N⌋, N = training rows after `limit`; or `count`.
 * The product is of decimals as people write them: 0.29 · 100 is 29, though its double is 28.999999999999996.
 */
export function askedRows(dose: Dose, total: number): number {
  if (dose.count !== undefined) return dose.count;
  if (dose.rate === undefined) throw new Error('a dose has neither rate nor count');
  const product = dose.rate * total;
  const nearest = Math.round(product);
  return Math.abs(product - nearest) <= 1e-12 * Math.max(1, nearest) ? nearest : Math.floor(product);
}

export interface Selection {
  /** Indexes into `rows`, in the order drawn: a smaller dose takes a prefix. */
  readonly indexes: readonly number[];
  readonly asked: number;
  readonly eligible: number;
}

/**
 * Draws exactly the asked number of eligible rows without replacement: the first ones of a permutation of all rows, so
 * that the rows of a smaller dose are among those of a larger one.
 * @param whom what makes a row eligible, for the message: `rows whose label is not "ham"`.
 * @throws UserFault where too few rows are eligible.
 */
export function selectRows(
  input: Pick<AttackInput<Dose>, 'rows' | 'params' | 'random'>, isEligible: (row: Row) => boolean, whom: string,
): Selection {
  const { rows, params } = input;
  const asked = askedRows(params, rows.length);
  const order = input.random('rows').permutation(rows.length);
  const drawn: number[] = [];
  let eligible = 0;
  for (const index of order) {
    if (!isEligible(rows[index]!)) continue;
    eligible++;
    if (drawn.length < asked) drawn.push(index);
  }
  if (drawn.length < asked) {
    const how = params.count === undefined ? `rate ${params.rate} of ${rows.length}` : `count ${params.count}`;
    throw new UserFault(
      `The attack asks for ${asked} rows (${how}), but only ${eligible} of ${rows.length} are eligible: ${whom}.`,
      'Lower the dose, take more training rows, or choose another `mode` where the attack has one.',
    );
  }
  return { indexes: drawn, asked, eligible };
}
