/** Numbers of stages that the report knows nothing of: a spec's own commands, and plugins from outside. */
import type { JSX } from 'preact';
import { blockLabel, type Condition, distinct, metricOf, seriesOf } from '../conditions.ts';
import { Table } from './parts.tsx';
import { seedsCell, seriesCell } from './series.tsx';

/** They have chapters of their own. */
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
/** More columns than this are for the CSV. */
const MOST_METRICS = 12;

export function OwnStages({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  const cells = conditions.flatMap((condition) => condition.cells);
  const kinds = distinct(cells.flatMap(({ metrics }) => Object.keys(metrics))).filter(
    (kind) => !KNOWN.has(kind),
  );
  if (kinds.length === 0) return null;
  const settings = conditions.some(({ setting }) => setting !== '');
  return (
    <>
      {kinds.map((kind) => {
        const metrics = distinct(cells.flatMap((cell) => Object.keys(cell.metrics[kind] ?? {})));
        const shown = metrics.slice(0, MOST_METRICS),
          left = metrics.length - shown.length;
        return (
          <>
            <h3>Stage {kind}</h3>
            <Table
              label={`Numbers of ${kind}`}
              rows={conditions}
              starts={(condition, i) => blockLabel(condition) !== blockLabel(conditions[i - 1]!)}
              columns={[
                { title: 'Attack', kind: 'nowrap', value: ({ attackLabel }) => attackLabel },
                { title: 'Adapter', kind: 'nowrap', value: ({ adapterLabel }) => adapterLabel },
                ...(settings
                  ? [{ title: 'Setting', value: ({ setting }: Condition) => setting || '–' }]
                  : []),
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
              caption={`Mean ± half of the 95% t-interval over seeds.${left > 0 ? ` ${left} more metrics are in the CSV.` : ''}`}
            />
          </>
        );
      })}
    </>
  );
}
