/** How far information bits hang on what counts as zero and on how many rows were looked at. */
import type { JSX } from 'preact';
import { lastFisher } from '../compare.ts';
import { blockLabel, type Condition, distinct, seriesOf } from '../conditions.ts';
import { formatNumber, plural } from '../format.ts';
import type { FisherSensitivity, Parametrisation, ReportCell } from '../types.ts';
import { Table } from './parts.tsx';

const MOST_ADAPTERS = 12;

interface Row {
  readonly condition: Condition;
  readonly of: Parametrisation;
}
type Reading = (facts: FisherSensitivity) => number | null | undefined;

const sensitivity = (cell: ReportCell, of: Parametrisation): FisherSensitivity | null =>
  lastFisher(cell)?.[of]?.sensitivity ?? null;
const meanOf = ({ condition, of }: Row, get: Reading): number | undefined =>
  seriesOf(condition, (cell) => {
    const facts = sensitivity(cell, of);
    return facts === null ? null : (get(facts) ?? null);
  }).summary?.mean;

/** In how many conditions LoRA's mean stands on the same side of the full one's in all of these readings. */
export function steadyOrders(
  conditions: readonly Condition[],
  readings: readonly Reading[],
): { readonly same: number; readonly of: number } {
  const signs = conditions
    .map((condition) =>
      readings.flatMap((get) => {
        const lora = meanOf({ condition, of: 'lora' }, get),
          full = meanOf({ condition, of: 'full' }, get);
        return lora === undefined || full === undefined ? [] : [Math.sign(lora - full)];
      }),
    )
    .filter((found) => found.length > 1);
  return { same: signs.filter((found) => new Set(found).size === 1).length, of: signs.length };
}

export function Sensitivity({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  const having = conditions.filter(({ cells }) =>
    cells.some((cell) => (['lora', 'full'] as const).some((of) => sensitivity(cell, of) !== null)),
  );
  const first = having[0];
  if (first === undefined) return null;
  // One attack, the first: the others' are in fisher.json.
  const alike = having.filter((condition) => blockLabel(condition) === blockLabel(first));
  const adapters = alike.slice(0, MOST_ADAPTERS);
  const rows = adapters.flatMap((condition) =>
    (['lora', 'full'] as const).flatMap((of): Row[] =>
      condition.cells.some((cell) => sensitivity(cell, of) !== null) ? [{ condition, of }] : [],
    ),
  );
  const { tolerances, rows: byRows } = rows[0]!.condition.cells.flatMap(
    (cell) => sensitivity(cell, rows[0]!.of) ?? [],
  )[0]!;
  const mean = (row: Row, get: Reading): string => formatNumber(meanOf(row, get));
  const names = [
    {
      title: 'Adapter',
      kind: 'nowrap' as const,
      value: ({ condition }: Row) => condition.adapterLabel,
    },
    {
      title: 'Kernel',
      kind: 'nowrap' as const,
      value: ({ of }: Row) => (of === 'lora' ? 'LoRA' : 'full'),
    },
  ];
  const orders = [
    [
      'tolerance',
      'IB',
      tolerances.map(
        (_, k): Reading =>
          (facts) =>
            facts.tolerances[k]?.information_bits,
      ),
    ],
    [
      'N',
      'IB',
      byRows.map(
        (_, k): Reading =>
          (facts) =>
            facts.rows[k]?.information_bits,
      ),
    ],
    [
      'N',
      'IB normalised',
      byRows.map(
        (_, k): Reading =>
          (facts) =>
            facts.rows[k]?.information_bits_normalised,
      ),
    ],
  ] as const;
  const said = orders.flatMap(([over, quantity, readings]) => {
    const { same, of } = steadyOrders(having, readings);
    return of === 0 ? [] : [`over ${over}, of ${quantity}, in ${same} of ${of}`];
  });
  const left = alike.length - adapters.length;
  const starts = (row: Row, i: number): boolean => row.condition !== rows[i - 1]!.condition;
  return (
    <>
      <h3>What information bits hang on</h3>
      <p>
        Eigenvalues at or below tolerance·λmax count as zero, and each further one that counts adds
        ½ log λ to raw information bits, which takes away where λ &lt; 1. An order of LoRA and full
        that turns with the tolerance or with N is none.{' '}
        {said.length === 0
          ? ''
          : `Mean values keep one order at every value shown: ${said.join('; ')} conditions. `}
        Shown: {blockLabel(first)}, means over{' '}
        {plural(
          distinct(alike.flatMap(({ cells }) => cells.map(({ seed }) => seed))).length,
          'seed',
        )}
        .{left > 0 ? ` ${plural(left, 'more adapter')} are in fisher.json.` : ''}
      </p>
      <Table
        label="Tolerance"
        rows={rows}
        starts={starts}
        caption="IB in nats (eigenvalues that count), by tolerance, over all rows."
        columns={[
          ...names,
          ...tolerances.map(({ tolerance }, k) => ({
            title: formatNumber(tolerance),
            kind: 'number' as const,
            value: (row: Row) =>
              `${mean(row, (facts) => facts.tolerances[k]?.information_bits)} (${mean(row, (facts) => facts.tolerances[k]?.count)})`,
          })),
        ]}
      />
      <Table
        label="Rows"
        rows={rows}
        starts={starts}
        caption="IB in nats (eigenvalues that count), and IB normalised, of the first N rows."
        columns={[
          ...names,
          ...byRows.flatMap(({ rows: count }, k) => [
            {
              title: `IB, N = ${count}`,
              kind: 'number' as const,
              value: (row: Row) =>
                `${mean(row, (facts) => facts.rows[k]?.information_bits)} (${mean(row, (facts) => facts.rows[k]?.count)})`,
            },
            {
              title: 'normalised',
              kind: 'number' as const,
              value: (row: Row) => mean(row, (facts) => facts.rows[k]?.information_bits_normalised),
            },
          ]),
        ]}
      />
    </>
  );
}
