/**
 * Shows the numbers of stages that the report does not know: a spec's own commands and outside
 * plugins.
 */
import type { JSX } from 'preact';
import { type Condition, metricOf, seriesOf } from '../conditions.ts';
import { distinct } from '../groups.ts';
import { namingColumns, OVER_SEEDS, startsBlock } from './columns.tsx';
import { Table } from './parts.tsx';
import { seedsCell, seriesCell } from './series.tsx';

/** The stages that the report shows elsewhere. */
const KNOWN = new Set([
  'data',
  'poison',
  'train',
  'evaluate',
  'kernel',
  'ntk',
  'fisher',
  'delta',
  'divergence',
  'regime',
  'spectrum',
  'theory-map',
  'report',
]);
/** The most columns of the table. Further metrics are only in the CSV. */
const MOST_METRICS = 12;

const StageTable = ({
  kind,
  conditions,
}: {
  readonly kind: string;
  readonly conditions: readonly Condition[];
}): JSX.Element => {
  const cells = conditions.flatMap((condition) => condition.cells);
  const metrics = distinct(cells.flatMap((cell) => Object.keys(cell.metrics[kind] ?? {})));
  const shown = metrics.slice(0, MOST_METRICS),
    left = metrics.length - shown.length;
  return (
    <>
      <h3>Stage {kind}</h3>
      <Table
        label={`Numbers of ${kind}`}
        rows={conditions}
        starts={startsBlock}
        columns={[
          ...namingColumns(conditions),
          { title: 'n seeds', kind: 'number', value: seedsCell },
          ...shown.map((metric) => ({
            title: metric,
            kind: 'number' as const,
            value: (condition: Condition) =>
              seriesCell(
                seriesOf(condition, metricOf(kind, metric)),
                'plain',
                condition.cells.length,
                true,
              ),
          })),
        ]}
        caption={`${OVER_SEEDS}${left > 0 ? ` ${left} more metrics are in the CSV.` : ''}`}
      />
    </>
  );
};

export function OwnStages({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element {
  const cells = conditions.flatMap((condition) => condition.cells);
  const kinds = distinct(cells.flatMap(({ metrics }) => Object.keys(metrics)));
  return (
    <>
      {kinds
        .filter((kind) => !KNOWN.has(kind))
        .map((kind) => (
          <StageTable kind={kind} conditions={conditions} />
        ))}
    </>
  );
}
