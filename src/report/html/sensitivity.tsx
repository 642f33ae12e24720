/** How information bits depend on what counts as zero and on how many rows are used. */
import type { JSX } from 'preact';
import { type Condition, seriesOf } from '../conditions.ts';
import { lastFisher } from '../fisher.ts';
import { formatNumber, plural } from '../format.ts';
import { distinct } from '../groups.ts';
import { blockLabel } from '../labels.ts';
import type { FisherSensitivity, Parametrisation, ReportCell } from '../types.ts';
import { type Column, names, numbers, type OfConditions, Table } from './parts.tsx';

const MOST_ADAPTERS = 12;
const BOTH = ['lora', 'full'] as const;

interface Row {
  readonly condition: Condition;
  readonly of: Parametrisation;
}
/** Reads a number at one tolerance, or on one count of rows. */
type Reading = (facts: FisherSensitivity) => number | null | undefined;

/** Reads a kernel's sensitivity at a cell's last checkpoint; null if it was not measured. */
const readSensitivity = (cell: ReportCell, of: Parametrisation): FisherSensitivity | null =>
  lastFisher(cell)?.[of]?.sensitivity ?? null;
const hasSensitivity = ({ condition, of }: Row): boolean =>
  condition.cells.some((cell) => readSensitivity(cell, of) !== null);
/** Returns the mean of a reading over seeds; undefined if no seed has it. */
const meanReading = ({ condition, of }: Row, read: Reading): number | undefined =>
  seriesOf(condition, (cell) => {
    const facts = readSensitivity(cell, of);
    return facts === null ? null : (read(facts) ?? null);
  }).summary?.mean;
const meanText = (row: Row, read: Reading): string => formatNumber(meanReading(row, read));

/**
 * Counts the conditions with several readings (`of`), and those of them in which every reading puts
 * LoRA's mean on the same side of the full kernel's (`same`).
 */
function countSteadyOrders(
  conditions: readonly Condition[],
  readings: readonly Reading[],
): { readonly same: number; readonly of: number } {
  const signs = conditions
    .map((condition) =>
      readings.flatMap((read) => {
        const lora = meanReading({ condition, of: 'lora' }, read),
          full = meanReading({ condition, of: 'full' }, read);
        return lora === undefined || full === undefined ? [] : [Math.sign(lora - full)];
      }),
    )
    .filter((found) => found.length > 1);
  return { same: signs.filter((found) => new Set(found).size === 1).length, of: signs.length };
}

type OverRows = 'information_bits' | 'information_bits_normalised' | 'count';
/** Reads a number at the k-th tolerance, over all rows. */
const atTolerance =
  (k: number, number: 'information_bits' | 'count' = 'information_bits'): Reading =>
  (facts) =>
    facts.tolerances[k]?.[number];
/** Reads a number on the k-th count of rows. */
const overRows =
  (k: number, number: OverRows = 'information_bits'): Reading =>
  (facts) =>
    facts.rows[k]?.[number];

/** Says in how many conditions LoRA and full keep their order; '' if none has several readings. */
function ordersText(
  conditions: readonly Condition[],
  { tolerances, rows }: FisherSensitivity,
): string {
  const orders = [
    ['tolerance', 'IB', tolerances.map((_, k) => atTolerance(k))],
    ['N', 'IB', rows.map((_, k) => overRows(k))],
    ['N', 'IB normalised', rows.map((_, k) => overRows(k, 'information_bits_normalised'))],
  ] as const;
  const parts = orders.flatMap(([over, quantity, readings]) => {
    const { same, of } = countSteadyOrders(conditions, readings);
    return of === 0 ? [] : [`at every ${over} for ${quantity} in ${same} of ${of} conditions`];
  });
  return parts.length === 0
    ? ''
    : `The means of LoRA and full have the same order ${parts.join('; ')}. `;
}

const NAMES: readonly Column<Row>[] = [
  names('Adapter', ({ condition }) => condition.adapterLabel),
  names('Kernel', ({ of }) => (of === 'lora' ? 'LoRA' : 'full')),
];
const startsAdapter = (row: Row, above: Row): boolean => row.condition !== above.condition;

/** Returns a column of means, `BITS (COUNT)`. */
const bitsColumn = (title: string, bits: Reading, count: Reading): Column<Row> =>
  numbers(title, (row) => `${meanText(row, bits)} (${meanText(row, count)})`);

/** Shows the sensitivity under the first attack. For other attacks, each fisher.json has it. */
export function Sensitivity({ conditions }: OfConditions): JSX.Element | null {
  const measured = conditions.filter((condition) =>
    BOTH.some((of) => hasSensitivity({ condition, of })),
  );
  const [first] = measured;
  if (first === undefined) return null;
  const alike = measured.filter((condition) => blockLabel(condition) === blockLabel(first));
  const adapters = alike.slice(0, MOST_ADAPTERS);
  const rows = adapters
    .flatMap((condition) => BOTH.map((of): Row => ({ condition, of })))
    .filter(hasSensitivity);
  const [facts] = rows.flatMap(({ condition, of }) =>
    condition.cells.flatMap((cell) => readSensitivity(cell, of) ?? []),
  );
  if (facts === undefined) return null;
  const left = alike.length - adapters.length;
  const seeds = distinct(alike.flatMap(({ cells }) => cells.map(({ seed }) => seed)));
  return (
    <>
      <h3>What information bits depend on</h3>
      <p>
        Eigenvalues at or below tolerance·λmax count as zero, and each further one that counts adds
        ½ log λ to raw information bits, a loss where λ &lt; 1. If the order of LoRA and full
        changes with the tolerance or with N, it means nothing. {ordersText(measured, facts)}
        Shown: {blockLabel(first)}, means over {plural(seeds.length, 'seed')}.
        {left > 0 ? ` ${plural(left, 'more adapter')} are in fisher.json.` : ''}
      </p>
      <Table
        label="Tolerance"
        rows={rows}
        starts={startsAdapter}
        caption="IB in nats (eigenvalues that count), by tolerance, over all rows."
        columns={[
          ...NAMES,
          ...facts.tolerances.map(({ tolerance }, k) =>
            bitsColumn(formatNumber(tolerance), atTolerance(k), atTolerance(k, 'count')),
          ),
        ]}
      />
      <Table
        label="Rows"
        rows={rows}
        starts={startsAdapter}
        caption="IB in nats (eigenvalues that count), and IB normalised, of the first N rows."
        columns={[
          ...NAMES,
          ...facts.rows.flatMap(({ rows: n }, k) => [
            bitsColumn(`IB, N = ${n}`, overRows(k), overRows(k, 'count')),
            numbers('normalised', (row: Row) =>
              meanText(row, overRows(k, 'information_bits_normalised')),
            ),
          ]),
        ]}
      />
    </>
  );
}
