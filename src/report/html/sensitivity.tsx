/** How far information bits hang on what counts as zero and on how many rows were looked at. */
import type { JSX } from 'preact';
import { lastFisher } from '../compare.ts';
import { blockLabel, seriesOf, type Condition } from '../conditions.ts';
import { formatNumber } from '../format.ts';
import type { FisherSensitivity, Parametrisation, ReportCell } from '../types.ts';
import { Table } from './parts.tsx';

const MOST_ADAPTERS = 8;

interface Row {
  readonly condition: Condition;
  readonly of: Parametrisation;
}

const sensitivity = (cell: ReportCell, of: Parametrisation): FisherSensitivity | null => lastFisher(cell)?.[of]?.sensitivity ?? null;

export function Sensitivity({ conditions }: { readonly conditions: readonly Condition[] }): JSX.Element | null {
  const all = conditions.flatMap((condition) => (['lora', 'full'] as const).flatMap((of): Row[] => (condition.cells.some((cell) => sensitivity(cell, of) !== null) ? [{ condition, of }] : [])));
  const first = all[0];
  if (first === undefined) return null;
  // One attack, the first: the others' are in fisher.json.
  const rows = all.filter(({ condition }) => blockLabel(condition) === blockLabel(first.condition)).slice(0, MOST_ADAPTERS);
  const { tolerances, rows: byRows } = sensitivity(first.condition.cells.find((cell) => sensitivity(cell, first.of) !== null)!, first.of)!;
  const mean = ({ condition, of }: Row, get: (facts: FisherSensitivity) => number | null | undefined): string =>
    formatNumber(seriesOf(condition, (cell) => { const facts = sensitivity(cell, of); return facts === null ? null : get(facts) ?? null; }).summary?.mean);
  const names = [
    { title: 'Adapter', kind: 'nowrap' as const, value: ({ condition }: Row) => condition.adapterLabel },
    { title: 'Kernel', kind: 'nowrap' as const, value: ({ of }: Row) => (of === 'lora' ? 'LoRA' : 'full') },
  ];
  return (
    <>
      <h3>What information bits hang on</h3>
      <p>Eigenvalues at or below tolerance·λmax count as zero, and raw information bits fall by ½ log λ for each more that counts: an order that turns with the tolerance or with N is none. Shown: {blockLabel(first.condition)}, means over seeds.</p>
      <Table label="Tolerance" rows={rows} starts={(row, i) => row.condition !== rows[i - 1]!.condition} columns={[
        ...names,
        ...tolerances.map(({ tolerance }, k) => ({
          title: `IB (eigenvalues) at ${formatNumber(tolerance)}`, kind: 'number' as const,
          value: (row: Row) => `${mean(row, (facts) => facts.tolerances[k]?.information_bits)} (${mean(row, (facts) => facts.tolerances[k]?.count)})`,
        })),
      ]} />
      <Table label="Rows" rows={rows} starts={(row, i) => row.condition !== rows[i - 1]!.condition} columns={[
        ...names,
        ...byRows.flatMap(({ rows: count }, k) => [
          { title: `IB (eigenvalues) at N = ${count}`, kind: 'number' as const, value: (row: Row) => `${mean(row, (facts) => facts.rows[k]?.information_bits)} (${mean(row, (facts) => facts.rows[k]?.count)})` },
          { title: 'normalised', kind: 'number' as const, value: (row: Row) => mean(row, (facts) => facts.rows[k]?.information_bits_normalised) },
        ]),
      ]} />
    </>
  );
}
