/** Columns of tables that have a row for each condition. */
import { type Condition, type Quantity, seriesOf, summaryOf } from '../conditions.ts';
import { formatSummary, type NumberKind } from '../format.ts';
import { blockLabel } from '../labels.ts';
import type { Column } from './parts.tsx';

/** The caption of tables whose numbers are summaries over seeds. */
export const OVER_SEEDS =
  'Mean ± half of the 95% t-interval over seeds; of two seeds, both values.';

export const ATTACK: Column<Condition> = { title: 'Attack', kind: 'nowrap', value: blockLabel };
export const ADAPTER: Column<Condition> = {
  title: 'Adapter',
  kind: 'nowrap',
  value: ({ adapterLabel }) => adapterLabel,
};

/** Returns a column with a quantity's summary over seeds. */
export const numberColumn = (
  title: string,
  quantity: Quantity,
  kind: NumberKind = 'plain',
): Column<Condition> => ({
  title,
  kind: 'number',
  value: (condition) => {
    const { summary } = seriesOf(condition, quantity);
    return summary === null ? '–' : formatSummary(summary, kind);
  },
});

/** Returns columns for the attack, the adapter and, if any condition has one, the setting. */
export const namingColumns = (conditions: readonly Condition[]): readonly Column<Condition>[] => [
  { title: 'Attack', kind: 'nowrap', value: ({ attackLabel }) => attackLabel },
  ADAPTER,
  ...(conditions.some(({ setting }) => setting !== '')
    ? [
        {
          title: 'Setting',
          kind: 'words' as const,
          value: ({ setting }: Condition) => setting || '–',
        },
      ]
    : []),
];

/** Whether a row begins a new block. The table separates blocks by a heavier line. */
export const startsBlock = (row: Condition, above: Condition): boolean =>
  blockLabel(row) !== blockLabel(above);

/** Returns the conditions that have a metric. */
export const having = (
  conditions: readonly Condition[],
  stage: string,
  metric: string,
): readonly Condition[] =>
  conditions.filter((condition) => summaryOf(condition, { stage, metric }) !== null);
