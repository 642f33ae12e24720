/** How many rows an attack asks for, and which rows it gets. */
import {
  type AttackCheck,
  type AttackInput,
  type Poisoned,
  type Problem,
  type Row,
  UserFault,
} from '../api.ts';
import { flooredShare } from '../base/rounding.ts';

/** One of the two is always set, because attacks have a default rate. */
export interface Dose {
  /** A share of the training rows. */
  readonly rate?: number;
  /** Takes precedence over `rate`. */
  readonly count?: number;
}

/**
 * Returns how many of the training rows a dose asks for: `count`, or ⌊rate·total⌋. Throws an Error
 * if the dose has neither.
 */
export function askedRows(dose: Dose, total: number): number {
  if (dose.count !== undefined) return dose.count;
  if (dose.rate === undefined) throw new Error('a dose has neither rate nor count');
  return flooredShare(dose.rate, total);
}

/**
 * Returns the number of training rows: the number of answers in a completion task, else the sum of
 * the class counts.
 */
export const totalRows = ({
  counts,
  answers,
}: Pick<AttackCheck<unknown>, 'counts' | 'answers'>): number =>
  answers?.length ?? counts.reduce((sum, count) => sum + count, 0);

interface Eligible {
  readonly rows: number;
  /**
   * Which rows are eligible, as a clause for messages: `only rows whose answer lacks the target are
   * poisoned`.
   */
  readonly whom: string;
}

/**
 * Returns a fault if the dose asks for more rows than are eligible, a warning if its rate is above
 * zero but less than one row, else an empty list.
 */
export function checkDose(dose: Dose, total: number, eligible: Eligible): Problem[] {
  const asked = askedRows(dose, total);
  if (asked > eligible.rows)
    return [
      {
        path: ['poisoning', dose.count === undefined ? 'rate' : 'count'],
        ...tooFewRows(dose, total, asked, eligible),
      },
    ];
  return emptyDoseWarnings(dose, total);
}

/** Returns a warning if a rate above zero asks for less than one row, else an empty list. */
export function emptyDoseWarnings(dose: Dose, total: number): Problem[] {
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

/**
 * Returns the message and the hint for a dose that is too large.
 * @param taken the number of rows that earlier steps have poisoned
 */
function tooFewRows(
  { rate = NaN, count }: Dose,
  total: number,
  asked: number,
  { rows, whom }: Eligible,
  taken = 0,
): { readonly message: string; readonly hint: string } {
  // One of the two is set.
  const dose = count === undefined ? `rate ${rate} of ${total}` : `count ${count}`;
  const others = taken === 0 ? '' : `, and ${taken} rows are an earlier step's`;
  return {
    message:
      `The attack asks for ${asked} rows (${dose}), ` +
      `but only ${rows} of ${total} are eligible: ${whom}${others}.`,
    hint:
      'Lower the dose, take more training rows, ' +
      'or choose another `mode` where the attack has one.',
  };
}

/**
 * Poisons exactly as many eligible rows as the dose asks for: the first ones in a permutation of
 * all rows, so that a larger dose includes the rows of a smaller one. Rows that an earlier step has
 * poisoned are skipped. Throws `UserFault` if too few rows are eligible.
 * @param whom which rows are eligible, for the message
 * @param poison returns the poisoned row; `drawn` is the row's place in the order in which rows
 *   were drawn, from 0
 */
export function poisonDose(
  input: Pick<AttackInput<Dose>, 'rows' | 'params' | 'random' | 'taken'>,
  isEligible: (row: Row) => boolean,
  whom: string,
  poison: (row: Row, drawn: number) => Row,
): Poisoned {
  const { rows, params, taken } = input;
  const asked = askedRows(params, rows.length);
  const drawn: { index: number; row: Row }[] = [];
  let eligible = 0;
  for (const index of input.random('rows').permutation(rows.length)) {
    const row = rows[index];
    if (row === undefined || taken?.has(index) === true || !isEligible(row)) continue;
    eligible++;
    if (drawn.length < asked) drawn.push({ index, row });
  }
  if (drawn.length < asked) {
    const few = { rows: eligible, whom };
    const { message, hint } = tooFewRows(params, rows.length, asked, few, taken?.size);
    throw new UserFault(message, hint);
  }
  const changed = drawn.map(({ index, row }, i) => ({ index, row: poison(row, i) }));
  return { changed, negatives: [], asked, eligible };
}
