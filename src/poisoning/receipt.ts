/**
 * The receipt of a poisoned set: the record of what was changed in the set. The trainer uses the
 * receipt to check that the rows that it trains on are this set.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { type JsonObject, type Poisoned, type Row, UserFault } from '../api.ts';
import { defined } from '../base/defined.ts';
import { isRecord } from '../base/untrusted/json.ts';

type Content = Omit<Row, 'id'>;

interface ReceiptRow {
  readonly id: string;
  readonly index: number;
  readonly original: Content;
  readonly new: Content;
  /** The attack that poisoned the row. Present if several attacks are composed. */
  readonly step?: string;
}

interface ReceiptStep {
  readonly attack: string;
  readonly counts: {
    readonly asked: number;
    readonly eligible: number;
    readonly made: number;
    readonly negatives: number;
  };
}

/** The indexes of the rows that stand first, and of those that stand last, in each epoch. */
export interface RowOrder {
  readonly first: readonly number[];
  readonly last: readonly number[];
}

/** What `receipt.json` of the poison stage holds. */
export interface Receipt {
  readonly format: 1;
  readonly attack: string;
  readonly params: JsonObject;
  /** The seed of the attack's random streams; null if the attack draws nothing. */
  readonly seed: number | null;
  readonly counts: {
    readonly total: number;
    readonly asked: number;
    /** Absent if several attacks are composed, since then each step has its own count. */
    readonly eligible?: number;
    readonly made: number;
    readonly negatives: number;
  };
  /**
   * The class that the trigger leads to. Absent if there is no trigger, or if it leads to an
   * answer.
   */
  readonly target?: { readonly label: number; readonly class: string };
  /** The steps in order. Present if several attacks are composed. */
  readonly steps?: readonly ReceiptStep[];
  readonly digests: { readonly clean: string; readonly poisoned: string };
  readonly rows: readonly ReceiptRow[];
  /** Rows appended with their true labels, step by step. */
  readonly negatives: readonly (Content & {
    readonly id: string;
    readonly index: number;
    /** The attack that added the row. Present if several attacks are composed. */
    readonly step?: string;
  })[];
  /** Absent if no row stands first or last in the epochs. */
  readonly order?: RowOrder;
}

/** Returns the digest of the rows, in order, as `sha256:…`. */
export function rowsDigest(rows: readonly Row[]): string {
  const hash = createHash('sha256');
  for (const row of rows) {
    const { id, text, text_pair: pair = null, label, answer, rejected, context, document } = row;
    // Of a labelled text, the digest covers only the id, text, pair and label. Of a prompt, it also
    // covers the answer, the context and, in a preference pair, the rejected answer; of a document,
    // also the fact that it is one.
    const further = [rejected, document].filter((field) => field !== undefined);
    const more = answer === undefined ? [] : [answer, context ?? null, ...further];
    hash.update(`${JSON.stringify([id, text, pair, label, ...more])}\n`);
  }
  return `sha256:${hash.digest('hex')}`;
}

/** Returns the fields of a row, or of an entry of a receipt, that `Content` has. */
export function contentOf(row: Content): Content {
  const { text, text_pair, label, answer, rejected, document, context } = row;
  return defined({ text, text_pair, label, answer, rejected, document, context });
}

export const sameContent = (row: Content, other: Content): boolean =>
  isDeepStrictEqual(contentOf(row), contentOf(other));

/**
 * Makes the receipt of a poisoned set.
 * @param clean the rows before the attacks
 * @param poisonedRows the poisoned set, negatives included
 * @param poisoned what all attacks did together
 * @param seed null if the attack draws nothing
 * @param done what each attack did; with fewer than two attacks, the receipt lists no steps
 */
export function makeReceipt(
  clean: readonly Row[],
  poisonedRows: readonly Row[],
  poisoned: Poisoned,
  attack: string,
  params: JsonObject,
  seed: number | null,
  done: readonly { readonly attack: string; readonly poisoned: Poisoned }[] = [],
): Receipt {
  const composed = done.length > 1 ? done : [];
  const steps = composed.map(({ attack, poisoned }): ReceiptStep => {
    const { asked, eligible, changed, negatives } = poisoned;
    const counts = { asked, eligible, made: changed.length, negatives: negatives.length };
    return { attack, counts };
  });
  /** The attack that poisoned a row, by index; empty unless attacks are composed. */
  const poisoner = new Map(
    composed.flatMap(({ attack: step, poisoned: { changed } }) =>
      changed.map(({ index }) => [index, step] as const),
    ),
  );
  /** The attack that added each negative; empty unless attacks are composed. */
  const adders = composed.flatMap(({ attack: step, poisoned: { negatives } }) =>
    negatives.map(() => step),
  );
  return {
    format: 1,
    attack,
    params,
    seed,
    counts: {
      total: poisonedRows.length,
      asked: poisoned.asked,
      ...(composed.length > 0 ? {} : { eligible: poisoned.eligible }),
      made: poisoned.changed.length,
      negatives: poisoned.negatives.length,
    },
    ...(composed.length > 0 ? { steps } : {}),
    digests: { clean: rowsDigest(clean), poisoned: rowsDigest(poisonedRows) },
    rows: [...poisoned.changed]
      .sort((a, b) => a.index - b.index)
      .map(({ index, row }) => {
        const original = clean[index];
        if (original === undefined) throw new RangeError(`there is no clean row ${index}`);
        return {
          id: row.id,
          index,
          original: contentOf(original),
          new: contentOf(row),
          ...defined({ step: poisoner.get(index) }),
        };
      }),
    negatives: poisoned.negatives.map((row, i) => ({
      id: row.id,
      index: clean.length + i,
      ...contentOf(row),
      ...defined({ step: adders[i] }),
    })),
  };
}

/**
 * Returns the first fault of a receipt's steps: counts that differ from the rows listed, or that do
 * not add up to the receipt's counts. Null if there is none.
 */
function checkReceiptSteps({ steps, rows, negatives, counts }: Receipt): string | null {
  if (steps === undefined) return null;
  for (const {
    attack,
    counts: { made, asked, negatives: added },
  } of steps) {
    const listed = rows.filter(({ step }) => step === attack).length,
      listedAdded = negatives.filter(({ step }) => step === attack).length;
    if (made !== asked)
      return `Of step "${attack}" ${asked} poisoned rows were asked for and ${made} were made.`;
    if (listed !== made)
      return `The receipt counts ${made} poisoned rows of step "${attack}" and lists ${listed}.`;
    if (listedAdded !== added)
      return `The receipt counts ${added} negatives of step "${attack}" and lists ${listedAdded}.`;
  }
  const sum = (count: (step: ReceiptStep) => number): number =>
    steps.reduce((total, step) => total + count(step), 0);
  const made = sum((step) => step.counts.made),
    added = sum((step) => step.counts.negatives);
  return made === counts.made && added === counts.negatives
    ? null
    : `The receipt's steps add up to ${made} poisoned rows and ${added} negatives, ` +
        `the receipt counts ${counts.made} and ${counts.negatives}.`;
}

/**
 * Whether a value has the lists and objects that `checkReceipt` goes through. Their other content
 * is not checked.
 */
function isReceipt(value: unknown): value is Receipt {
  if (!isRecord(value)) return false;
  const { counts, steps = [], digests, rows, negatives, order = { first: [], last: [] } } = value;
  return (
    isRecord(order) &&
    Array.isArray(order['first']) &&
    Array.isArray(order['last']) &&
    isRecord(counts) &&
    isRecord(digests) &&
    Array.isArray(rows) &&
    rows.every((row) => isRecord(row) && isRecord(row['original']) && isRecord(row['new'])) &&
    Array.isArray(negatives) &&
    negatives.every(isRecord) &&
    Array.isArray(steps) &&
    steps.every((step) => isRecord(step) && isRecord(step['counts']))
  );
}

/**
 * Reads the receipt of a poisoned set, `receipt.json` in `dir`.
 * @param rows the rows of the poisoned set
 * @throws UserFault if the receipt does not match the rows
 */
export async function readReceipt(dir: string, rows: readonly Row[]): Promise<Receipt> {
  const receipt = JSON.parse(await readFile(join(dir, 'receipt.json'), 'utf8')) as Receipt;
  const mismatch = checkReceipt(rows, receipt);
  if (mismatch === null) return receipt;
  throw new UserFault(
    `the poisoned set does not match its receipt: ${mismatch}`,
    'Run the poison stage again.',
  );
}

/**
 * Returns a sentence about the first thing in which a set and a receipt do not match; null if they
 * match.
 */
export function checkReceipt(rows: readonly Row[], receipt: Receipt): string | null {
  if (!isReceipt(receipt)) return 'The receipt does not have the form of a receipt.';
  const { counts, digests } = receipt;
  if (counts.made !== counts.asked)
    return `${counts.asked} poisoned rows were asked for and ${counts.made} were made.`;
  if (receipt.rows.length !== counts.made)
    return `The receipt counts ${counts.made} poisoned rows and lists ${receipt.rows.length}.`;
  if (receipt.negatives.length !== counts.negatives)
    return `The receipt counts ${counts.negatives} negatives and lists ${receipt.negatives.length}.`;
  const stepsFault = checkReceiptSteps(receipt);
  if (stepsFault !== null) return stepsFault;
  if (rows.length !== counts.total)
    return `The receipt is for ${counts.total} rows; the set has ${rows.length}.`;
  const rowsFault = checkReceiptRows(rows, receipt) ?? checkReceiptOrder(receipt);
  if (rowsFault !== null) return rowsFault;
  const digest = rowsDigest(rows);
  return digest === digests.poisoned
    ? null
    : `The set's digest is ${digest}; the receipt's is ${digests.poisoned}.`;
}

/**
 * Returns the fault of an order that moves a row twice, a negative, or a row that is not in the
 * set; null if there is none.
 */
function checkReceiptOrder({ order, counts }: Receipt): string | null {
  const moved = order === undefined ? [] : [...order.first, ...order.last];
  const rows = counts.total - counts.negatives;
  const odd = moved.find((index) => !Number.isInteger(index) || index < 0 || index >= rows);
  if (odd !== undefined) return `The receipt moves row ${String(odd)}, which is not in the set.`;
  return new Set(moved).size === moved.length ? null : 'The receipt moves a row twice.';
}

/**
 * Returns the fault of the first row or negative that is not as the receipt says; null if there is
 * none.
 */
function checkReceiptRows(rows: readonly Row[], receipt: Receipt): string | null {
  const listed = new Set<number>();
  for (const entry of receipt.rows) {
    const row = rows[entry.index];
    if (listed.has(entry.index)) return `The receipt lists row ${entry.index} twice.`;
    listed.add(entry.index);
    if (row?.id !== entry.id)
      return (
        `Row ${entry.index} is ${row === undefined ? 'missing' : row.id}; ` +
        `the receipt poisons ${entry.id} there.`
      );
    if (!sameContent(row, entry.new)) {
      const clean = sameContent(row, entry.original)
        ? 'it is still the clean row'
        : 'its text, label or answer differs';
      return `Row ${entry.id} is not what the receipt says it was poisoned to: ${clean}.`;
    }
  }
  for (const entry of receipt.negatives) {
    const row = rows[entry.index];
    if (row?.id !== entry.id || !sameContent(row, entry))
      return `Negative ${entry.id} is not at row ${entry.index} as the receipt says.`;
  }
  return null;
}
