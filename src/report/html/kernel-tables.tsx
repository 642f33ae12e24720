/**
 * Tables of LoRA's kernel beside the full one: every quantity, how many eigenvalues count, and how
 * far training moved it.
 */
import type { JSX } from 'preact';
import { type Condition, metricOf, type Quantity, seriesOf } from '../conditions.ts';
import { checkpointName, ESTIMATED, fisherOf, isEstimated, lastFisher } from '../fisher.ts';
import { formatInterval, formatMean, formatNumber } from '../format.ts';
import type { KernelComparison } from '../kernels.ts';
import { blockLabel } from '../labels.ts';
import type { Parametrisation } from '../types.ts';
import { ADAPTER, ATTACK, startsBlock } from './columns.tsx';
import { type Column, Judged, Table } from './parts.tsx';

/** Returns a column with the mean over seeds of one of the two kernels. */
const kernelMean = (title: string, of: Parametrisation): Column<KernelComparison> => ({
  title,
  kind: 'number',
  value: ({ condition, quantity, checkpoint }) =>
    formatNumber(seriesOf(condition, fisherOf(quantity, checkpoint, of)).summary?.mean),
});

const ORDER_COLUMNS: readonly Column<KernelComparison>[] = [
  { title: 'Checkpoint', kind: 'nowrap', value: ({ checkpoint }) => checkpointName(checkpoint) },
  { title: 'Quantity', kind: 'nowrap', value: ({ quantity }) => quantity.label },
  { title: 'Attack', value: ({ condition }) => blockLabel(condition) },
  { title: 'Adapter', value: ({ condition }) => condition.adapterLabel },
  kernelMean('Adapter’s kernel', 'lora'),
  kernelMean('Full kernel', 'full'),
  {
    title: 'Pairs',
    kind: 'number',
    value: ({ seeds, excluded }) => (
      <>
        {seeds.length}
        {excluded > 0 ? <span class="bad"> ({excluded} excluded)</span> : null}
      </>
    ),
  },
  {
    title: 'Difference',
    kind: 'number',
    value: ({ difference }) => (difference ? formatMean(difference) : '–'),
  },
  {
    title: '95% interval',
    kind: 'number',
    value: ({ difference }) => (difference ? formatInterval(difference) : '–'),
  },
  {
    title: 'Order',
    kind: 'nowrap',
    value: ({ condition, difference }) => {
      if (difference === null) return '–';
      const own = condition.adapter === 'lora' ? 'LoRA' : 'adapter';
      return difference.mean <= 0 ? `${own} ≤ full` : `${own} > full`;
    },
  },
  {
    title: 'Claim: LoRA ≤ full',
    kind: 'claim',
    value: ({ verdict }) => (verdict ? <Judged verdict={verdict} /> : '–'),
  },
];

/**
 * Raw and normalised quantities can rank the two kernels differently, and so can different α. They
 * are therefore shown side by side rather than summed up.
 */
export const OrderTable = ({
  kernels,
}: {
  readonly kernels: readonly KernelComparison[];
}): JSX.Element => (
  <Table
    label="LoRA kernel against full kernel"
    most={240}
    rows={kernels}
    starts={(row, above) => row.checkpoint !== above.checkpoint || row.quantity !== above.quantity}
    columns={ORDER_COLUMNS}
  />
);

/**
 * Shows how many eigenvalues count and how far training moved the kernels. Raw information bits and
 * the tangent kernel's regime depend on these numbers.
 */
export function CountTable({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  const rows = conditions.filter(({ cells }) =>
    cells.some((cell) => lastFisher(cell) ?? cell.metrics['ntk']),
  );
  if (rows.length === 0) return null;
  const mean = (condition: Condition, quantity: Quantity): string =>
    formatNumber(seriesOf(condition, quantity).summary?.mean);
  const metricColumn = (title: string, metric: string): Column<Condition> => ({
    title,
    kind: 'number',
    value: (condition) => {
      const about = isEstimated(condition.cells, 'ntk') ? '≈ ' : '';
      return `${about}${mean(condition, metricOf('ntk', metric))}`;
    },
  });
  const countColumn = (title: string, of: Parametrisation): Column<Condition> => ({
    title,
    kind: 'number',
    value: (condition) => mean(condition, (cell) => lastFisher(cell)?.[of]?.true?.count ?? null),
  });
  const hasEstimates = rows.some(({ cells }) => isEstimated(cells, 'ntk'));
  return (
    <Table
      label="Counts and drift"
      rows={rows}
      starts={startsBlock}
      caption={`Means over seeds.${hasEstimates ? ` ${ESTIMATED}` : ''}`}
      columns={[
        ATTACK,
        ADAPTER,
        countColumn('Eigenvalues that count, LoRA', 'lora'),
        countColumn('full', 'full'),
        metricColumn('cos(K_LoRA, K_full), init', 'init.alignment'),
        metricColumn('final', 'final.alignment'),
        metricColumn('‖K(T)−K(0)‖/‖K(0)‖, LoRA', 'lora.drift'),
        metricColumn('full', 'full.drift'),
      ]}
    />
  );
}
