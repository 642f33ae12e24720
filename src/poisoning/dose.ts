/** How many rows an attack asks for, and which rows it gets. */
import type { AttackInput, Problem, Row } from '../api.ts';
import { UserFault } from '../api.ts';

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
  return Math.abs(product - nearest) <= 1e-12 * Math.max(1, nearest)
    ? nearest
    : Math.floor(product);
}

/** Whom a dose is drawn from, for its fault: `rows whose label is not "ham"`. */
export interface Eligible {
  readonly rows: number;
  readonly whom: string;
}

/** Whether the dose can be had, and whether it comes to a row at all. Paths as in the spec. */
export function checkDose(dose: Dose, counts: readonly number[], eligible: Eligible): Problem[] {
  const total = counts.reduce((sum, count) => sum + count, 0),
    asked = askedRows(dose, total);
  if (asked > eligible.rows)
    return [
      {
        path: ['poisoning', dose.count === undefined ? 'rate' : 'count'],
        ...tooFew(dose, total, asked, eligible),
      },
    ];
  return emptyDose(dose, total);
}

/** A rate that was meant to poison and comes to less than a row. */
export function emptyDose(dose: Dose, total: number): Problem[] {
  const { rate } = dose;
  if (dose.count !== undefined || rate === undefined || rate === 0 || askedRows(dose, total) > 0)
    return [];
  return [
    {
      path: ['poisoning', 'rate'],
      message: `rate ${rate} of ${total} training rows is less than one row: nothing is poisoned`,
      warning: true,
    },
  ];
}

const tooFew = (
  dose: Dose,
  total: number,
  asked: number,
  { rows, whom }: Eligible,
  taken = 0,
): { readonly message: string; readonly hint: string } => ({
  message: `The attack asks for ${asked} rows (${dose.count === undefined ? `rate ${dose.rate} of ${total}` : `count ${dose.count}`}), but only ${rows} of ${total} are eligible: ${whom}${taken === 0 ? '' : `, and ${taken} rows are an earlier step's`}.`,
  hint: 'Lower the dose, take more training rows, or choose another `mode` where the attack has one.',
});

export interface Selection {
  /** Indexes into `rows`, in the order drawn: a smaller dose takes a prefix. */
  readonly indexes: readonly number[];
  readonly asked: number;
  readonly eligible: number;
}

/**
 * Draws exactly the asked number of eligible rows without replacement: the first ones of a permutation of all rows, so
 * that the rows of a smaller dose are among those of a larger one. Rows that an earlier step has poisoned are passed over.
 * @param whom what makes a row eligible, for the message: `rows whose label is not "ham"`.
 * @throws UserFault where too few rows are eligible.
 */
export function selectRows(
  input: Pick<AttackInput<Dose>, 'rows' | 'params' | 'random' | 'taken'>,
  isEligible: (row: Row) => boolean,
  whom: string,
): Selection {
  const { rows, params, taken } = input;
  const asked = askedRows(params, rows.length);
  const order = input.random('rows').permutation(rows.length);
  const drawn: number[] = [];
  let eligible = 0;
  for (const index of order) {
    if (taken?.has(index) || !isEligible(rows[index]!)) continue;
    eligible++;
    if (drawn.length < asked) drawn.push(index);
  }
  if (drawn.length < asked) {
    const { message, hint } = tooFew(
      params,
      rows.length,
      asked,
      { rows: eligible, whom },
      taken?.size,
    );
    throw new UserFault(message, hint);
  }
  return { indexes: drawn, asked, eligible };
}
