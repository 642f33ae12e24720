/** What the defences of a grid did, and what must be said of them. */
import { differenceOver } from './against.ts';
import {
  type Condition,
  metricOf,
  type Quantity,
  scoreOf,
  seriesOf,
  voidReasons,
} from './conditions.ts';
import { DAGGER, daggerText, dropsCleanRows, voidReason } from './evidence.ts';
import type { Finding, FindingRow } from './findings.ts';
import { formatDifference, formatNumber, list } from './format.ts';
import { distinct, groupBy, type NonEmpty } from './groups.ts';
import { DEFENCE } from './labels.ts';
import { ACCURACY, ASR, ASR_REMOVED, ASR_UNDEFENDED, type Metric } from './metrics.ts';
import type { ReportCell } from './types.ts';

export const isDefended = ({ axes }: Pick<Condition, 'axes'>): boolean =>
  axes[DEFENCE] !== undefined;

/**
 * Returns a function that says whether a cell is defended and has the same training as an
 * undefended cell. Its defence then acts on the trained model or on inputs, and its training curves
 * are those of the undefended cell.
 */
export function repeatedTrainings(
  cells: readonly Pick<ReportCell, 'axes' | 'stages'>[],
): (cell: Pick<ReportCell, 'axes' | 'stages'>) => boolean {
  const undefended = cells.filter((cell) => !isDefended(cell));
  const trainings = new Set(undefended.map(({ stages }) => stages['train']));
  return (cell) => isDefended(cell) && trainings.has(cell.stages['train']);
}

/** The defence that drops exactly the poisoned rows. */
const ORACLE = 'oracle';

/**
 * Says what limits the grid's numbers on defences: what an oracle is, or that there is none. Also
 * says if no cell is undefended.
 */
export function defenceCaveats(conditions: readonly Condition[]): readonly string[] {
  const names = new Set(conditions.map(({ axes }) => axes[DEFENCE]));
  return [
    ...(names.has(ORACLE)
      ? [
          'The oracle is told which rows are poisoned. It is not a defence, but a bound on those ' +
            'that filter rows.',
        ]
      : [
          'The grid has no oracle, so nothing shows how much a perfect filter of rows would ' +
            'leave of the attacks: add oracle to defences.',
        ]),
    ...(names.has(undefined)
      ? []
      : [
          'No cell of the grid is without a defence; “undefended” numbers are those of trainings ' +
            'that were made beside it, on the same rows.',
        ]),
  ];
}

/** Names the defences that dropped more than half of the clean training rows; '' without any. */
export function droppedRowsText(conditions: readonly Condition[]): string {
  const dropping = conditions.filter(({ cells }) => cells.some(dropsCleanRows)),
    names = distinct(dropping.map(({ defence }) => defence));
  return names.length === 0
    ? ''
    : `For some models behind these numbers, ${list(names)} dropped more than half of the clean ` +
        'training rows.';
}

export const DEFENCES = { id: 'defences', title: 'Attacks against defences' };
const MOST_DEFENDED = 8;

/** Reads the share of the judged training rows that were dropped; null if none was judged. */
const shareDropped: Quantity = ({ metrics: { evaluate = {} } }) =>
  evaluate['rows_dropped'] === undefined || !evaluate['rows_judged']
    ? null
    : evaluate['rows_dropped'] / evaluate['rows_judged'];

/** The finding's columns. A number is marked if the metric `judgedBy` is not evidence. */
const COLUMNS: readonly (readonly [
  title: string,
  quantity: Quantity,
  judgedBy?: Pick<Metric, 'metric'>,
])[] = [
  ['ASR without', scoreOf(ASR_UNDEFENDED), ASR_UNDEFENDED],
  ['ASR with', scoreOf(ASR), ASR],
  [
    'Accuracy without',
    metricOf(ACCURACY.stage, 'accuracy_undefended'),
    { metric: 'accuracy_undefended' },
  ],
  ['Accuracy with', scoreOf(ACCURACY), ACCURACY],
  ['Rows dropped', shareDropped],
  ['Inputs rejected', metricOf(ACCURACY.stage, 'rejected_share')],
  ['Models suspected', metricOf(ACCURACY.stage, 'model_suspected')],
];

/**
 * Returns what each defence did to the attacks or, if no attacked cell is defended, to clean
 * models. Each condition has a row; if there are more than MOST_DEFENDED, each defence has one row
 * with the least and the largest mean of its conditions. Null if no condition has a defence.
 */
export function defenceFinding(conditions: readonly Condition[]): Finding | null {
  const defended = conditions.filter(isDefended);
  const attacked = defended.filter(({ family }) => family !== 'none');
  const assessed = attacked.length > 0 ? attacked : defended;
  if (assessed.length === 0) return null;
  const isEach = assessed.length <= MOST_DEFENDED;
  const groups = isEach
    ? assessed.map((condition): NonEmpty<Condition> => [condition])
    : [...groupBy(assessed, ({ defence }) => defence).values()];
  const columns = COLUMNS.filter(([, quantity]) =>
    assessed.some((condition) => seriesOf(condition, quantity).summary !== null),
  );
  const rows = groups.map((group): FindingRow => ({
    label: isEach ? distinguishingLabel(group[0], assessed) : group[0].defence,
    values: columns.map(([, quantity, metric]) => {
      const text = rangeText(group, quantity);
      return metric && group.some((one) => voidReasons(one, metric).size > 0)
        ? `${text} ${DAGGER}`
        : text;
    }),
    ...changeOfAsr(group),
  }));
  const shown = rows.slice(0, MOST_DEFENDED),
    dagger = daggerText(
      assessed.flatMap((one) =>
        columns.flatMap(([, , metric]) => (metric ? [...voidReasons(one, metric).values()] : [])),
      ),
    );
  const rangeNote = isEach
    ? ''
    : 'Of each defence: the least and the largest mean over its attacks, adapters and settings.';
  return {
    topic: 'What the defences did',
    sentence: [rangeNote, ...defenceCaveats(conditions), ...(dagger ? [`${DAGGER} ${dagger}`] : [])]
      .filter((text) => text !== '')
      .join(' '),
    columns: columns.map(([title]) => title),
    comparison: columns.some(([title]) => title === 'ASR with') ? 'ASR with − without' : '',
    claim: null,
    rows: shown,
    more: rows.length - shown.length,
    see: DEFENCES,
  };
}

/**
 * Names a condition by its setting, and by its attack or adapter if these differ within `among`.
 */
const distinguishingLabel = (condition: Condition, among: readonly Condition[]): string =>
  [
    condition.setting,
    ...(['attackLabel', 'adapterLabel'] as const).flatMap((label) =>
      distinct(among.map((one) => one[label])).length > 1 ? [condition[label]] : [],
    ),
  ].join(' · ');

/** Returns the range of the conditions' means: `0.120 to 0.340`; `–` without any. */
function rangeText(group: readonly Condition[], quantity: Quantity): string {
  const means = group.flatMap((one) => seriesOf(one, quantity).summary?.mean ?? []);
  if (means.length === 0) return '–';
  const [low, high] = [Math.min(...means), Math.max(...means)].map((mean) =>
    formatNumber(mean, 'proportion'),
  );
  return low === high ? String(low) : `${low} to ${high}`;
}

/**
 * Compares ASR with and without the defence over the pairs that are evidence. The difference is
 * null if there is no such pair, or if the group has several conditions; `n` counts the pairs of
 * all conditions.
 */
function changeOfAsr(group: NonEmpty<Condition>): Omit<FindingRow, 'label' | 'values'> {
  const cells = group.flatMap((condition) => condition.cells);
  const pairs = cells.flatMap((cell) => {
    const removed = scoreOf(ASR_REMOVED)(cell);
    return removed === null ? [] : [{ removed, reason: voidReason(cell, ASR_REMOVED) }];
  });
  const reasons = pairs.flatMap(({ reason }) => reason ?? []);
  const counted = pairs.filter(({ reason }) => reason === null);
  const difference =
    group.length > 1 ? null : differenceOver(counted.map(({ removed }) => [0, removed]));
  return {
    difference: difference && formatDifference(difference, 'proportion'),
    n: counted.length,
    excluded:
      reasons.length === 0
        ? ''
        : `${reasons.length} of ${pairs.length} not evidence: the model ${distinct(reasons).join('; ')}`,
    verdict: null,
  };
}
